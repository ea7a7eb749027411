//! The scheduler decides when a call may start, by processor slots and host memory, and on which GPU an instance runs.

mod devices;
mod ledger;
mod need;
mod policy;
mod recent;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_instances::Devices;
use bivium_interface::{CallHandle, PluginError, Result};

pub use bivium_interface::Admission;

pub use need::Need;
pub use policy::{PermissiveScheduler, QueueScheduler, RefuseScheduler};
pub(crate) use recent::Age;

/// Decides when a call may start. A host may use its own implementation.
#[async_trait]
pub trait Scheduler: Send + Sync + 'static {
    /// Waits until the call may start and returns what holds its resources, or refuses it with `resource-exhausted`. Must end soon after
    /// the call is interrupted.
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission>;

    /// Admits a call at once if it surely fits. Measurements in `need` may be up to 250 ms old. Must not block. If it returns `None`, the
    /// plugin is measured again and the call is passed to [`admit`](Self::admit).
    fn admit_at_once(&self, _need: &Need) -> Option<Admission> {
        None
    }

    /// Places the instances of plugins that need GPUs. Asked once, when the manager is made. `None` if the scheduler does not place
    /// them: they then see all GPUs of the machine.
    fn devices(&self) -> Option<Arc<dyn Devices>> {
        None
    }

    /// Why it would never admit a call with this need on this machine, whatever else runs; `None` if it may. May block while the machine is
    /// measured. A host can ask before it loads a plugin.
    fn refusal(&self, _need: &Need) -> Option<PluginError> {
        None
    }

    /// Whether the scheduler considers memory. If not, the memory of plugins is not measured.
    fn weighs_memory(&self) -> bool {
        true
    }
}
