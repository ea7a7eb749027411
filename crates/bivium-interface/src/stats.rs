//! What a plugin has done and what it uses.

use serde::{Deserialize, Serialize};

/// Counters of a plugin since it was loaded, and its instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Calls that ended, however they did.
    pub calls: u64,
    /// Calls that ended in an error other than `cancelled`.
    pub failed: u64,
    /// Calls that ended as `cancelled`.
    pub cancelled: u64,
    /// Calls that run now.
    pub running: u64,
    /// Calls that wait for an instance now.
    pub waiting: u64,
    /// Time that calls have spent in the plugin, in seconds, the sum over all of them.
    pub busy_s: f64,
    /// Instances made in place of one that crashed or was stopped.
    pub restarts: u64,
    /// The live instances.
    pub instances: Vec<InstanceStats>,
}

impl Stats {
    /// Memory of all instances together, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.instances.iter().map(|instance| instance.memory_bytes).sum()
    }
}

/// One live instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStats {
    /// Which: a number of a component's instance or the process id of a worker.
    pub id: u64,
    /// Memory in bytes: linear memory of a component, resident memory of a worker's whole process tree.
    pub memory_bytes: u64,
    /// GPU memory in bytes, where it can be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Processor use in percent of one processor since the last look, where it can be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f32>,
    /// Processes of the instance; none for a component.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// Calls that it has ended.
    pub calls: u64,
    /// Seconds since it was made.
    pub age_s: f64,
}
