//! The layers around a plugin, and their order. A call through `PluginManager::execute` goes through them from the outside in:
//!
//! 1. [`Loaded`](super::loaded::Loaded): refuses calls to a disabled plugin, lists the call, and holds the copy that serves it;
//! 2. the host's own layers ([`ManagerBuilder::layer`](crate::ManagerBuilder::layer)), the first one outermost;
//! 3. [`Admitted`]: hands the scheduler to the call. The plugin's pool asks it after the call has left the queue. A type of the host's
//!    own has no pool: for it [`Admitted`] asks the scheduler itself;
//! 4. the plugin.
//!
//! `PluginManager::get` returns the plugin itself, without the layers.

mod admitted;
mod usage;

use std::sync::Arc;

use bivium_interface::{Layer, Manifest, PluginInterface, Result};

use admitted::Admitted;
pub(super) use usage::Usage;

use crate::catch_panic::CatchPanicPlugin;
use crate::monitor::Monitor;
use crate::scheduler::Scheduler;

/// The layers that are put around each plugin.
pub(super) struct Layers {
    /// The host's own layers, outermost first.
    pub(super) own: Vec<Arc<dyn Layer>>,
    pub(super) scheduler: Arc<dyn Scheduler>,
    pub(super) monitor: Arc<dyn Monitor>,
}

/// One copy of a plugin with its layers.
pub(super) struct Layered {
    pub(super) admitted: Arc<Admitted>,
    /// `admitted` wrapped in the host's own layers; `None` if the host has none.
    own: Option<CatchPanicPlugin>,
}

impl Layers {
    /// # Errors
    /// `plugin-failed` if one of the host's own layers panics.
    pub(super) fn around(&self, plugin: Arc<dyn PluginInterface>, manifest: Option<Arc<Manifest>>) -> Result<Layered> {
        let admitted = Arc::new(Admitted::new(plugin, manifest, &self.scheduler));
        let own = match self.own.is_empty() {
            true => None,
            false => Some(CatchPanicPlugin::layered(Arc::clone(&admitted) as Arc<dyn PluginInterface>, &self.own)?),
        };
        Ok(Layered { admitted, own })
    }
}

impl Layered {
    /// The plugin with its layers.
    pub(super) fn plugin(&self) -> &dyn PluginInterface {
        match &self.own {
            Some(own) => own,
            None => &*self.admitted,
        }
    }
}
