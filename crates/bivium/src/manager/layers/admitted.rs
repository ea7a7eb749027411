//! [`Admitted`]: asks the scheduler to admit each call once it has a place in the plugin.

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::manifest::Resources;
use bivium_interface::{
    Admission, Admit, Call, CallHandle, Manifest, Payload, PayloadStream, PluginInterface, Result, Wrapper,
};
use futures_util::future::BoxFuture;

use super::usage::{LastUsage, Usage};
use crate::scheduler::{Need, Scheduler};

/// The innermost layer, around the plugin itself.
pub(in crate::manager) struct Admitted {
    pub(in crate::manager) plugin: Arc<dyn PluginInterface>,
    /// `None` for a plugin that the host registered itself.
    pub(in crate::manager) manifest: Option<Arc<Manifest>>,
    calls: Arc<dyn Admit>,
    streams: Arc<dyn Admit>,
}

/// Asks the scheduler to admit calls or streams of one copy of a plugin.
struct SchedulerAdmit {
    plugin: Arc<dyn PluginInterface>,
    /// The resources in the manifest.
    resources: Option<Resources>,
    /// What a call needs if the memory that the plugin uses does not matter.
    plain: Need,
    is_for_streams: bool,
    usage: Arc<LastUsage>,
    scheduler: Arc<dyn Scheduler>,
}

impl Admitted {
    pub(in crate::manager) fn new(
        plugin: Arc<dyn PluginInterface>,
        manifest: Option<Arc<Manifest>>,
        scheduler: &Arc<dyn Scheduler>,
    ) -> Self {
        let usage = Arc::default();
        let admit = |is_for_streams| -> Arc<dyn Admit> {
            let resources = manifest.as_ref().map(|manifest| manifest.resources.clone());
            Arc::new(SchedulerAdmit {
                plugin: Arc::clone(&plugin),
                plain: need(plugin.name(), resources.as_ref(), Usage::default(), is_for_streams),
                resources,
                is_for_streams,
                usage: Arc::clone(&usage),
                scheduler: Arc::clone(scheduler),
            })
        };
        let (calls, streams) = (admit(false), admit(true));
        Self { plugin, manifest, calls, streams }
    }

    /// Whether the plugin itself asks for admission. A plugin that was made from a manifest does, when it has a place for the call; a type
    /// of the host's own does not.
    fn asks(&self) -> bool {
        self.manifest.is_some()
    }
}

#[async_trait]
impl Wrapper for Admitted {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.plugin
    }

    // Written without `async fn`, so that the plugin's future is not boxed again.
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
    /// Uses the last measurement of the plugin's memory, if it is recent.
    fn admit_at_once(&self) -> Option<Admission> {
        match self.memory_needs() {
            Some(_) => {
                let usage = self.usage.recent(&self.plugin)?;
                self.scheduler.admit_at_once(&self.need(usage))
            }
            None => self.scheduler.admit_at_once(&self.plain),
        }
    }

    /// Measures the plugin's memory now.
    async fn admit(&self, call: &CallHandle) -> Result<Admission> {
        match self.memory_needs() {
            Some(_) => {
                let now = self.usage.now(&*self.plugin);
                let usage = call.unless_interrupted(now).await?;
                self.scheduler.admit(&self.need(usage), call).await
            }
            None => self.scheduler.admit(&self.plain, call).await,
        }
    }
}

impl SchedulerAdmit {
    /// The resources in the manifest, if the memory that the plugin uses matters.
    fn memory_needs(&self) -> Option<&Resources> {
        let resources = self.resources.as_ref()?;
        (resources.min_system_ram_mb.is_some() && self.scheduler.weighs_memory()).then_some(resources)
    }

    fn need(&self, usage: Usage) -> Need {
        need(self.plugin.name(), self.resources.as_ref(), usage, self.is_for_streams)
    }
}

/// What a call needs in addition to the memory that the plugin's instances already use, for a loaded model, for example.
fn need(plugin: &str, resources: Option<&Resources>, usage: Usage, is_for_streams: bool) -> Need {
    let Usage { pids, held } = usage;
    let mut need = match resources {
        Some(resources) => Need::new(plugin, resources, pids, held.memory_bytes),
        None => Need { plugin: plugin.to_owned(), ..Need::default() },
    };
    if is_for_streams {
        // A stream runs only while it is read, and its reader may make other calls meanwhile, which would wait for a slot that the
        // stream holds.
        need.cpu_slots = 0;
    }
    need
}
