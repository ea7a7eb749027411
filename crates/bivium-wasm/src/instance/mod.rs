//! One live copy of a component, for the pool of instances.

mod entry;
mod stream;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bivium_instances::Instance;
use bivium_instances::document::Pace;
use bivium_interface::{Call, InstanceStats, MethodInfo, Payload, PayloadStream, Result};
use serde_json::Value;

pub use entry::ComponentInstance;

use crate::document;
use crate::store::Bounds;
use stream::RunningStream;

impl Instance for ComponentInstance {
    async fn initialize(&self, config: &Value) -> Result<()> {
        let mut slot = self.slot.lock().await;
        let (live, mut bounds) = self.control(&mut slot)?;
        let config = document::write("the configuration is", config, self.limits.document)?;
        let outcome = self.drive(&mut bounds, live.guest.initialize(&mut live.store, config)).await;
        self.settle(&mut slot, &bounds, outcome)
    }

    async fn execute(&self, call: &mut Call) -> Result<Payload> {
        let mut slot = self.enter().await;
        let (live, mut bounds) = self.call(&mut slot, call)?;
        let mut result = Payload::default();
        let work = live.guest.execute(&mut live.store, call, &mut result);
        let outcome = self.drive(&mut bounds, work).await;
        let done = self.settle(&mut slot, &bounds, outcome);
        self.end_call(&mut slot);
        done.and_then(|()| bounds.in_time()).map(|()| result)
    }

    async fn execute_stream(self: Arc<Self>, mut call: Call) -> Result<PayloadStream> {
        let mut slot = self.slot.lock().await;
        let (live, mut bounds) = self.call(&mut slot, &call)?;
        let work = live.guest.execute_stream(&mut live.store, &mut call);
        let outcome = self.drive(&mut bounds, work).await;
        match self.settle(&mut slot, &bounds, outcome) {
            Ok(stream) => {
                drop(slot);
                Ok(RunningStream::new(self, stream, bounds).into_payloads())
            }
            Err(error) => {
                self.end_call(&mut slot);
                Err(error)
            }
        }
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        let mut slot = self.slot.lock().await;
        let (live, mut bounds) = self.control(&mut slot)?;
        let work = async { live.guest.methods(&mut live.store).await.map(Ok) };
        let outcome = self.drive(&mut bounds, work).await;
        self.settle(&mut slot, &bounds, outcome)
    }

    async fn config_schema(&self) -> Result<Value> {
        if let Some(schema) = self.schema.get() {
            return Ok(schema.clone());
        }
        let mut slot = self.slot.lock().await;
        let (live, mut bounds) = self.control(&mut slot)?;
        let work = async { live.guest.config_schema(&mut live.store).await.map(Ok) };
        let outcome = self.drive(&mut bounds, work).await;
        let text = self.settle(&mut slot, &bounds, outcome)?;
        let pace = Pace::new(None, bounds.deadline());
        let schema = document::read("the plugin's `config-schema` is", text, self.limits.document, pace).await?;
        Ok(self.schema.get_or_init(|| schema).clone())
    }

    async fn current_config(&self) -> Result<Value> {
        let mut slot = self.slot.lock().await;
        let (live, mut bounds) = self.control(&mut slot)?;
        let work = async { live.guest.current_config(&mut live.store).await.map(Ok) };
        let outcome = self.drive(&mut bounds, work).await;
        let text = self.settle(&mut slot, &bounds, outcome)?;
        let pace = Pace::new(None, bounds.deadline());
        document::read("the plugin's `current-config` is", text, self.limits.document, pace).await
    }

    fn is_alive(&self) -> bool {
        self.lives()
    }

    async fn close(&self) {
        // Interrupts whoever is in the guest.
        self.signals.closing.cancel();
        let mut slot = self.slot.lock().await;
        if let Some(live) = slot.as_mut().filter(|_| self.lives()) {
            let mut bounds = Bounds::of_cleanup(&self.limits);
            live.begin(None);
            live.enter(&bounds);
            let work = async { live.guest.cleanup(&mut live.store).await.map(Ok) };
            let outcome = self.drive(&mut bounds, work).await;
            if let Err(error) = self.settle(&mut slot, &bounds, outcome) {
                tracing::warn!(instance = self.id, "a component's cleanup failed: {error}");
            }
        }
        self.free(&mut slot);
    }

    fn stats(&self) -> InstanceStats {
        let mut stats = InstanceStats::default();
        stats.id = self.id;
        stats.memory_bytes = self.memory.load(Ordering::Relaxed);
        stats.calls = self.calls.load(Ordering::Relaxed);
        stats.age_s = self.made.elapsed().as_secs_f64();
        stats
    }
}
