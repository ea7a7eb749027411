//! [`Admitted`]: has the scheduler admit each call once it has a place in the plugin.

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::manifest::Resources;
use bivium_interface::{
    Admission, Admit, Call, CallHandle, Manifest, Payload, PayloadStream, PluginInterface, Result, Wrapper,
};
use futures_util::future::BoxFuture;

use super::weight::{LastWeight, Weight};
use crate::monitor::Monitor;
use crate::scheduler::{Need, Scheduler};

/// The innermost layer of the manager's, around the plugin itself.
pub(in crate::manager) struct Admitted {
    pub(in crate::manager) plugin: Arc<dyn PluginInterface>,
    /// None for a plugin that the host registered itself.
    pub(in crate::manager) manifest: Option<Arc<Manifest>>,
    calls: Arc<dyn Admit>,
    streams: Arc<dyn Admit>,
}

/// Has the scheduler admit the calls of one copy of a plugin, or its streams.
struct SchedulerAdmit {
    plugin: Arc<dyn PluginInterface>,
    /// What the manifest asks for.
    resources: Option<Resources>,
    /// What a call needs whatever the plugin holds.
    plain: Need,
    is_for_streams: bool,
    weight: Arc<LastWeight>,
    scheduler: Arc<dyn Scheduler>,
    monitor: Arc<dyn Monitor>,
}

impl Admitted {
    pub(in crate::manager) fn new(
        plugin: Arc<dyn PluginInterface>,
        manifest: Option<Arc<Manifest>>,
        scheduler: &Arc<dyn Scheduler>,
        monitor: &Arc<dyn Monitor>,
    ) -> Self {
        let weight = Arc::default();
        let admit = |is_for_streams| -> Arc<dyn Admit> {
            let resources = manifest.as_ref().map(|manifest| manifest.resources.clone());
            Arc::new(SchedulerAdmit {
                plugin: Arc::clone(&plugin),
                plain: need(plugin.name(), resources.as_ref(), Weight::default(), is_for_streams),
                resources,
                is_for_streams,
                weight: Arc::clone(&weight),
                scheduler: Arc::clone(scheduler),
                monitor: Arc::clone(monitor),
            })
        };
        let (calls, streams) = (admit(false), admit(true));
        Self { plugin, manifest, calls, streams }
    }

    /// Whether the plugin itself asks for the admission: one that was made from a manifest does when it has a place for the call, and
    /// one of the host's own type knows nothing of it.
    fn asks(&self) -> bool {
        self.manifest.is_some()
    }
}

#[async_trait]
impl Wrapper for Admitted {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.plugin
    }

    // Written out: the plugin's own future needs no box around it.
    fn execute<'a, 'b>(&'a self, call: Call) -> BoxFuture<'b, Result<Payload>>
    where
        'a: 'b,
    {
        if self.asks() {
            return self.plugin.execute(call.admitted_by(Arc::clone(&self.calls)));
        }
        Box::pin(async move {
            let _admission = self.calls.enter(call.handle()).await?;
            self.plugin.execute(call).await
        })
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        if self.asks() {
            return self.plugin.execute_stream(call.admitted_by(Arc::clone(&self.streams))).await;
        }
        let handle = call.handle().clone();
        let admission = self.streams.enter(&handle).await?;
        Ok(self.plugin.execute_stream(call).await?.holding(&handle, admission))
    }
}

#[async_trait]
impl Admit for SchedulerAdmit {
    /// By what the plugin was seen to hold a moment ago.
    fn admit_at_once(&self) -> Option<Admission> {
        match self.weighed() {
            Some(resources) => {
                let weight = self.weight.recent(&self.plugin, self.gpus(resources))?;
                self.scheduler.admit_at_once(&self.need(weight))
            }
            None => self.scheduler.admit_at_once(&self.plain),
        }
    }

    /// By what the plugin holds now.
    async fn admit(&self, call: &CallHandle) -> Result<Admission> {
        match self.weighed() {
            Some(resources) => {
                let now = self.weight.now(&*self.plugin, self.gpus(resources));
                let weight = call.unless_interrupted(now).await?;
                self.scheduler.admit(&self.need(weight), call).await
            }
            None => self.scheduler.admit(&self.plain, call).await,
        }
    }
}

impl SchedulerAdmit {
    /// What the manifest asks for, if it matters what the plugin holds.
    fn weighed(&self) -> Option<&Resources> {
        let resources = self.resources.as_ref()?;
        let asks = resources.min_system_ram_mb.is_some() || resources.min_gpu_vram_mb.is_some();
        (asks && self.scheduler.weighs_memory()).then_some(resources)
    }

    /// What tells the memory of GPUs, where they are asked for memory.
    fn gpus(&self, resources: &Resources) -> Option<&Arc<dyn Monitor>> {
        resources.min_gpu_vram_mb.map(|_| &self.monitor)
    }

    fn need(&self, weight: Weight) -> Need {
        need(self.plugin.name(), self.resources.as_ref(), weight, self.is_for_streams)
    }
}

/// What a call needs beyond what the plugin's instances hold already: a model that is loaded has its memory.
fn need(plugin: &str, resources: Option<&Resources>, weight: Weight, is_for_streams: bool) -> Need {
    let Weight { pids, held } = weight;
    let mut need = match resources {
        Some(resources) => Need::new(plugin, resources, pids, held.memory_bytes, held.gpu_memory_bytes.unwrap_or(0)),
        None => Need { plugin: plugin.to_owned(), ..Need::default() },
    };
    if is_for_streams {
        // A stream works when it is read, and its reader may make calls in between: a slot that it kept would be one that they
        // wait for.
        need.cpu_slots = 0;
    }
    need
}
