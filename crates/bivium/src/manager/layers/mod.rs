//! The layers around a plugin, and their order. A call by name goes through these, from outside in:
//!
//! 1. [`Loaded`](super::loaded::Loaded): refuses calls to a plugin that is disabled, lists the call, and holds the copy that serves;
//! 2. the host's own layers ([`ManagerBuilder::layer`](crate::ManagerBuilder::layer)), the first one added outermost;
//! 3. [`Admitted`]: the scheduler's admission, for which the plugin asks once it has a place for the call;
//! 4. the plugin.
//!
//! `PluginManager::get` gives the plugin itself, without them.

mod admitted;
mod weight;

use std::sync::Arc;

use bivium_interface::{Layer, Manifest, PluginInterface, Result};

use admitted::Admitted;
pub(super) use weight::Weight;

use crate::caught::CaughtPlugin;
use crate::monitor::Monitor;
use crate::scheduler::Scheduler;

/// What is put around each plugin.
pub(super) struct Layers {
    /// The host's own, outermost first.
    pub(super) own: Vec<Arc<dyn Layer>>,
    pub(super) scheduler: Arc<dyn Scheduler>,
    pub(super) monitor: Arc<dyn Monitor>,
}

/// A plugin with all that is around it in one copy of it.
pub(super) struct Layered {
    pub(super) admitted: Arc<Admitted>,
    /// The host's own layers around that; none if it has none.
    own: Option<CaughtPlugin>,
}

impl Layers {
    /// # Errors
    /// `plugin-failed` if one of the host's own panics.
    pub(super) fn around(&self, plugin: Arc<dyn PluginInterface>, manifest: Option<Arc<Manifest>>) -> Result<Layered> {
        let admitted = Arc::new(Admitted::new(plugin, manifest, &self.scheduler, &self.monitor));
        let own = match self.own.is_empty() {
            true => None,
            false => Some(CaughtPlugin::layered(Arc::clone(&admitted) as Arc<dyn PluginInterface>, &self.own)?),
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
