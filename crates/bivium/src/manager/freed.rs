//! The memory that a plugin gives back when it is unloaded, weighed before and after.

use std::fmt;

use bivium_interface::PluginInterface;
use serde::Serialize;

use crate::monitor::Monitor;

/// The memory that a plugin held before it was unloaded and holds after: 0, unless something of it is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// Before.
    pub before: Held,
    /// After.
    pub after: Held,
}

/// The memory that a plugin holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Host memory in bytes.
    pub memory_bytes: u64,
    /// GPU memory in bytes; none where there is no GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

/// Weighs a plugin before its end and after.
pub(super) struct Scales {
    /// Its processes before, which may be there after while the plugin itself knows of none.
    pids: Vec<u32>,
    before: Held,
}

impl Scales {
    pub(super) async fn of(plugin: &dyn PluginInterface, monitor: &dyn Monitor) -> Self {
        // One that cannot say is taken for one that holds nothing.
        let stats = plugin.stats().await.unwrap_or_default();
        let pids = stats.pids();
        let gpu_memory_bytes = monitor.snapshot().gpu_memory_of(&pids);
        Self { pids, before: Held { memory_bytes: stats.memory_bytes(), gpu_memory_bytes } }
    }

    pub(super) async fn freed(self, plugin: &dyn PluginInterface, monitor: &dyn Monitor) -> Freed {
        let left = plugin.stats().await.unwrap_or_default().memory_bytes();
        let memory_bytes = left.max(monitor.memory_of(&self.pids));
        let gpu_memory_bytes = monitor.snapshot().gpu_memory_of(&self.pids);
        Freed { before: self.before, after: Held { memory_bytes, gpu_memory_bytes } }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB of memory", self.memory_bytes >> 20)?;
        match self.gpu_memory_bytes {
            Some(bytes) => write!(f, " and {} MiB of GPU memory", bytes >> 20),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it held {}, and holds {} now", self.before, self.after)
    }
}
