//! What a plugin has done and what it uses.

use serde::{Deserialize, Serialize};

use crate::PluginError;

/// Counters of a plugin since it was loaded, and its instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
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
    /// Instances that ended before their time, so that the next call needs another.
    pub restarts: u64,
    /// Instances that ended by themselves or failed to start: see [`circuit`](Self::circuit).
    pub crashes: u64,
    /// Instances that were stopped since no call needed them.
    pub idle_stops: u64,
    /// Instances that are being started now.
    pub starting: u64,
    /// Whether instances are made.
    pub circuit: CircuitState,
    /// Seconds until an instance may be made again after crashes, where that is not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_s: Option<f64>,
    /// The last crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<LastCrash>,
    /// The live instances.
    pub instances: Vec<InstanceStats>,
}

/// Whether instances are made in place of those that crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitState {
    /// They are, after a delay where several crashed in a row.
    #[default]
    Closed,
    /// One is, to see whether it lives.
    HalfOpen,
    /// None is; calls that need one are refused.
    Open,
}

/// A crash, looked back upon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastCrash {
    /// How the instance ended.
    pub error: PluginError,
    /// Seconds since then.
    pub ago_s: f64,
    /// Crashes in a row, this one included; 0 once an instance has lived since.
    pub in_a_row: u32,
}

impl LastCrash {
    /// With this error, so many seconds ago, after so many in a row.
    #[must_use]
    pub fn new(error: PluginError, ago_s: f64, in_a_row: u32) -> Self {
        Self { error, ago_s, in_a_row }
    }
}

impl Stats {
    /// Memory of all instances together, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.instances.iter().map(|instance| instance.memory_bytes).sum()
    }

    /// The processes of all instances.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.instances.iter().flat_map(|instance| instance.pids.iter().copied()).collect()
    }
}

/// One live instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InstanceStats {
    /// Which: a number of a component's instance or the process id of a worker.
    pub id: u64,
    /// Memory in bytes: linear memory of a component, resident memory of a worker's whole process tree.
    pub memory_bytes: u64,
    /// GPU memory in bytes, where it can be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Processor use in percent of one processor since an earlier look. None where it cannot be measured, and while the
    /// instance is too young.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f32>,
    /// Processes of the instance; none for a component.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// Calls that it has ended.
    pub calls: u64,
    /// Seconds since it was made.
    pub age_s: f64,
    /// Seconds that its start took, configuration included.
    pub start_s: f64,
    /// Seconds since its last call ended; none while it runs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<f64>,
}
