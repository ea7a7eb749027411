//! The memory that a plugin gives back when it is unloaded, weighed before and after.

use std::fmt;
use std::sync::Arc;

use bivium_interface::PluginInterface;
use serde::Serialize;

use super::layers::Weight;
use crate::monitor::{Monitor, snapshot};

/// The memory that a plugin held before it was unloaded and holds after: 0, unless something of it is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Freed {
    /// Before.
    pub before: Held,
    /// After.
    pub after: Held,
}

/// The memory that a plugin holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Held {
    /// Host memory in bytes.
    pub memory_bytes: u64,
    /// GPU memory in bytes; none where there is no GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

impl Freed {
    /// What a plugin that held so much `before` its end holds now. It may know no more of processes that are still there.
    pub(super) async fn since(before: Weight, plugin: &dyn PluginInterface, monitor: &Arc<dyn Monitor>) -> Self {
        let left = plugin.stats().await.unwrap_or_default().memory_bytes();
        let memory_bytes = left.max(monitor.memory_of(&before.pids));
        let gpu_memory_bytes = snapshot(monitor).await.gpu_memory_of(&before.pids);
        Self { before: before.held, after: Held { memory_bytes, gpu_memory_bytes } }
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
