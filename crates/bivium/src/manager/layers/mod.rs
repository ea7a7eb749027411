//! The layers around a plugin, and their order. A call by name goes through these, from outside in:
//!
//! 1. [`Loaded`](super::loaded::Loaded): refuses calls to a plugin that is disabled, lists the call, and holds the copy that serves;
//! 2. the host's own layers ([`ManagerBuilder::layer`](crate::ManagerBuilder::layer)), the first one added outermost;
//! 3. [`Admitted`]: a place in the plugin, then the scheduler's admission;
//! 4. the plugin.
//!
//! `PluginManager::get` gives the plugin itself, without them.

mod admitted;
mod kept;
mod weight;

use std::sync::Arc;

use bivium_instances::CallStream;
use bivium_interface::manifest::Limits;
use bivium_interface::{Call, CancellationToken, Layer, Manifest, Payload, PayloadStream, PluginInterface, Result};

pub(super) use admitted::{Admittance, Admitted};
pub(super) use kept::KeptStream;
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
    pub(super) fn around(
        &self,
        plugin: Arc<dyn PluginInterface>,
        manifest: Option<Arc<Manifest>>,
        limits: &Limits,
    ) -> Result<Layered> {
        let admitted = Admitted::new(plugin, manifest, limits, &self.scheduler, &self.monitor);
        let own = match self.own.is_empty() {
            true => None,
            false => Some(CaughtPlugin::layered(Arc::clone(&admitted) as Arc<dyn PluginInterface>, &self.own)?),
        };
        Ok(Layered { admitted, own })
    }
}

impl Layered {
    /// The plugin as the manager configures, asks and ends it.
    pub(super) fn plugin(&self) -> &dyn PluginInterface {
        match &self.own {
            Some(own) => own,
            None => &*self.admitted,
        }
    }

    pub(super) async fn execute(&self, call: Call) -> Result<Payload> {
        match &self.own {
            Some(own) => own.execute(call).await,
            // By itself it needs no box for its future.
            None => {
                let _admittance = self.admitted.enter(call.handle(), false).await?;
                self.admitted.plugin.execute(call).await
            }
        }
    }

    /// The stream, and what is to be held until it ends.
    pub(super) async fn execute_stream(&self, call: Call) -> Result<(PayloadStream, Option<Admittance>)> {
        let handle = call.handle().clone();
        let (stream, admittance) = match &self.own {
            Some(own) => (own.execute_stream(call).await?, None),
            None => {
                let admittance = self.admitted.enter(&handle, true).await?;
                (self.admitted.plugin.execute_stream(call).await?, Some(admittance))
            }
        };
        if self.own.is_none() && self.admitted.manifest.is_some() {
            // Those of instances end with their calls by themselves.
            return Ok((stream, admittance));
        }
        // One of the host's own making may look at nothing.
        let stream = CallStream::new(stream, &handle, &CancellationToken::new(), |outcome| outcome);
        Ok((Box::pin(stream), admittance))
    }
}
