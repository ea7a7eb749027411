//! [`Admitted`]: lets a call through to a plugin when the plugin has a place for it and the scheduler admits it.

use std::sync::Arc;

use async_trait::async_trait;
use bivium_instances::{Place, Queue};
use bivium_interface::manifest::{Limits, Resources};
use bivium_interface::{Call, CallHandle, Manifest, Payload, PayloadStream, PluginInterface, Result, Stats, Wrapper};
use tokio::sync::Semaphore;

use super::kept::KeptStream;
use super::weight::{LastWeight, Weight};
use crate::monitor::Monitor;
use crate::scheduler::{Admission, Need, Scheduler};

/// The innermost layer of the manager's, around the plugin itself.
pub(in crate::manager) struct Admitted {
    pub(in crate::manager) plugin: Arc<dyn PluginInterface>,
    /// None for a plugin that the host registered itself.
    pub(in crate::manager) manifest: Option<Arc<Manifest>>,
    /// Calls beyond those that may be in the plugin at once wait here, and not in the scheduler's slots.
    pub(in crate::manager) queue: Arc<Queue>,
    weight: Arc<LastWeight>,
    scheduler: Arc<dyn Scheduler>,
    monitor: Arc<dyn Monitor>,
}

/// What an admitted call holds until it has ended.
pub(in crate::manager) struct Admittance {
    _place: Place,
    _admission: Admission,
}

impl Admitted {
    pub(in crate::manager) fn new(
        plugin: Arc<dyn PluginInterface>,
        manifest: Option<Arc<Manifest>>,
        limits: &Limits,
        scheduler: &Arc<dyn Scheduler>,
        monitor: &Arc<dyn Monitor>,
    ) -> Arc<Self> {
        let places = manifest.as_ref().map_or(Semaphore::MAX_PERMITS, |manifest| manifest.capacity());
        Arc::new(Self {
            plugin,
            manifest,
            queue: Arc::new(Queue::new(places, Queue::limit(limits))),
            weight: Arc::default(),
            scheduler: Arc::clone(scheduler),
            monitor: Arc::clone(monitor),
        })
    }

    /// Waits for the plugin's place first: a call that waits for its own plugin must not take a slot from the calls of others.
    pub(in crate::manager) async fn enter(&self, call: &CallHandle, stream: bool) -> Result<Admittance> {
        let place = self.queue.enter(call).await?;
        // Waiting is seldom and large: in a box, so that what each call moves about stays small.
        let admission = match self.admit_at_once(stream) {
            Some(admission) => admission,
            None => Box::pin(self.admit(call, stream)).await?,
        };
        Ok(Admittance { _place: place, _admission: admission })
    }

    /// A place where the scheduler has one at once, by what the plugin was seen to hold a moment ago.
    fn admit_at_once(&self, stream: bool) -> Option<Admission> {
        let weight = match self.weighed() {
            Some(resources) => self.weight.recent(&self.plugin, self.gpus(resources))?,
            None => Weight::default(),
        };
        self.scheduler.admit_at_once(&self.need(weight, stream))
    }

    /// A place as soon as the scheduler gives one, by what the plugin holds now.
    async fn admit(&self, call: &CallHandle, stream: bool) -> Result<Admission> {
        let weight = match self.weighed() {
            Some(resources) => {
                let now = self.weight.now(&*self.plugin, self.gpus(resources));
                call.guard(async { Ok(now.await) }).await?
            }
            None => Weight::default(),
        };
        self.scheduler.admit(&self.need(weight, stream), call).await
    }

    /// What its manifest asks for, if it matters what the plugin holds.
    fn weighed(&self) -> Option<&Resources> {
        let resources = &self.manifest.as_ref()?.resources;
        let asks = resources.min_system_ram_mb.is_some() || resources.min_gpu_vram_mb.is_some();
        (asks && self.scheduler.weighs_memory()).then_some(resources)
    }

    /// What tells the memory of GPUs, where they are asked for memory.
    fn gpus(&self, resources: &Resources) -> Option<&Arc<dyn Monitor>> {
        resources.min_gpu_vram_mb.map(|_| &self.monitor)
    }

    /// What a call needs beyond what the plugin's instances hold already: a model that is loaded has its memory.
    fn need(&self, weight: Weight, stream: bool) -> Need {
        let name = self.plugin.name();
        let mut need = match &self.manifest {
            Some(manifest) => {
                let Weight { pids, held } = weight;
                Need::new(name, &manifest.resources, pids, held.memory_bytes, held.gpu_memory_bytes.unwrap_or(0))
            }
            None => Need { plugin: name.to_owned(), cpu_slots: 1, ..Need::default() },
        };
        if stream {
            // A stream works when it is read, and its reader may make calls in between: a slot that it kept would be one that they
            // wait for.
            need.cpu_slots = 0;
        }
        need
    }
}

#[async_trait]
impl Wrapper for Admitted {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.plugin
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        let _admittance = self.enter(call.handle(), false).await?;
        self.plugin.execute(call).await
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        let handle = call.handle().clone();
        let admittance = self.enter(&handle, true).await?;
        let stream = self.plugin.execute_stream(call).await?;
        Ok(Box::pin(KeptStream::new(stream, handle, admittance)))
    }

    async fn stats(&self) -> Result<Stats> {
        let mut stats = self.plugin.stats().await?;
        stats.waiting += self.queue.waiting();
        Ok(stats)
    }
}
