//! [`Freed`]: the memory of a plugin before and after it was unloaded.

use std::fmt;
use std::sync::Arc;

use bivium_interface::PluginInterface;
use serde::Serialize;

use super::held::Held;
use super::layers::Usage;
use crate::monitor::{Monitor, snapshot};

/// The memory that a plugin used before it was unloaded and uses afterwards: 0, unless some of its processes are left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Freed {
    /// Before unloading.
    pub before: Held,
    /// After unloading.
    pub after: Held,
}

impl Freed {
    /// Measures a plugin after its end. Processes in `before` are measured too, because the plugin may no longer know them although they
    /// still run.
    pub(super) async fn since(before: Usage, plugin: &dyn PluginInterface, monitor: &Arc<dyn Monitor>) -> Self {
        let left = plugin.stats().await.unwrap_or_default().memory_bytes();
        let memory_bytes = left.max(monitor.memory_of(&before.pids));
        let gpu_memory_bytes = snapshot(monitor).await.gpu_memory_of(&before.pids);
        Self { before: before.held, after: Held { memory_bytes, gpu_memory_bytes } }
    }
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it used {}, and uses {} now", self.before, self.after)
    }
}
