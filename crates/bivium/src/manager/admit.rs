//! What a call needs of the machine, and its way through the scheduler.

use std::sync::Arc;

use bivium_interface::manifest::Resources;
use bivium_interface::{CallHandle, Result};

use super::PluginManager;
use super::loaded::Copy;
use super::weight::Weight;
use crate::monitor::Monitor;
use crate::scheduler::{Admission, Need};

impl PluginManager {
    /// A place where the scheduler has one at once, by what the plugin was seen to hold a moment ago.
    pub(super) fn admit_at_once(&self, name: &str, copy: &Copy, stream: bool) -> Option<Admission> {
        let weight = match self.weighed(copy) {
            Some(resources) => copy.weight.recent(&copy.plugin, self.gpus(resources))?,
            None => Weight::default(),
        };
        self.inner.scheduler.admit_at_once(&need(name, copy, weight, stream))
    }

    /// A place as soon as the scheduler gives one, by what the plugin holds now.
    pub(super) async fn admit(&self, name: &str, copy: &Copy, call: &CallHandle, stream: bool) -> Result<Admission> {
        let weight = match self.weighed(copy) {
            Some(resources) => {
                let now = copy.weight.now(&*copy.plugin, self.gpus(resources));
                call.guard(async { Ok(now.await) }).await?
            }
            None => Weight::default(),
        };
        self.inner.scheduler.admit(&need(name, copy, weight, stream), call).await
    }

    /// What its manifest asks for, if it matters what the plugin holds.
    fn weighed<'a>(&self, copy: &'a Copy) -> Option<&'a Resources> {
        let resources = &copy.manifest.as_ref()?.resources;
        let asks = resources.min_system_ram_mb.is_some() || resources.min_gpu_vram_mb.is_some();
        (asks && self.inner.scheduler.weighs_memory()).then_some(resources)
    }

    /// What tells the memory of GPUs, where they are asked for memory.
    fn gpus(&self, resources: &Resources) -> Option<&Arc<dyn Monitor>> {
        resources.min_gpu_vram_mb.map(|_| &self.inner.monitor)
    }
}

/// What a call needs beyond what the plugin's instances hold already: a model that is loaded has its memory.
fn need(name: &str, copy: &Copy, weight: Weight, stream: bool) -> Need {
    let mut need = match &copy.manifest {
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
