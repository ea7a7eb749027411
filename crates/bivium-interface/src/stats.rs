//! What a plugin has done and what it uses.

use serde::{Deserialize, Serialize};

use crate::PluginError;

/// Counters of a plugin since it was loaded, and its instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that ended, in whatever way.
    pub calls: u64,
    /// Calls that ended in an error other than `cancelled`.
    pub failed: u64,
    /// Calls that ended as `cancelled`.
    pub cancelled: u64,
    /// Calls that are running.
    pub running: u64,
    /// Calls that are waiting for an instance.
    pub waiting: u64,
    /// Time that calls have spent in the plugin, in seconds, summed over all calls.
    pub busy_s: f64,
    /// Instances that ended unexpectedly, so that the next call needs another one.
    pub restarts: u64,
    /// Instances that crashed or failed to start: see [`circuit`](Self::circuit).
    pub crashes: u64,
    /// Instances that were stopped because no call needed them.
    pub idle_stops: u64,
    /// Instances that are being started now.
    pub starting: u64,
    /// Whether new instances are made.
    pub circuit: CircuitState,
    /// Seconds until an instance may be made again after crashes; none if one may be made now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_s: Option<f64>,
    /// The last crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<LastCrash>,
    /// The live instances.
    pub instances: Vec<InstanceStats>,
}

/// Whether instances are made to replace those that crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitState {
    /// Instances are made; after several crashes in a row, with a delay.
    #[default]
    Closed,
    /// One instance is made, to see whether it works.
    HalfOpen,
    /// No instance is made; calls that need a new one are refused.
    Open,
}

/// The last crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastCrash {
    /// The error with which the instance ended.
    pub error: PluginError,
    /// Seconds since the crash.
    pub ago_s: f64,
    /// Crashes in a row, this one included; 0 once an instance has worked since.
    pub in_a_row: u32,
}

impl LastCrash {
    /// A crash with this error, `ago_s` seconds ago, the last of `in_a_row` crashes.
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
    /// The number of a component's instance or the process id of a worker.
    pub id: u64,
    /// Memory in bytes: linear memory of a component, resident memory of a worker's whole process tree.
    pub memory_bytes: u64,
    /// GPU memory in bytes, if it can be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Processor use since an earlier measurement, in percent of one processor. None if it cannot be measured, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f32>,
    /// Processes of the instance; none for a component.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// Calls that have ended in it.
    pub calls: u64,
    /// Seconds since it was created.
    pub age_s: f64,
    /// Seconds that its start took, including its configuration.
    pub start_s: f64,
    /// Seconds since its last call ended; none while it runs a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<f64>,
}
