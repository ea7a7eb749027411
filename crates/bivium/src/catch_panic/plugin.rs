//! [`CatchPanicPlugin`]: wraps a plugin of the host's own type, or a plugin with layers of the host's own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bivium_interface::{
    Call, CallId, Failure, Layer, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result, Stats,
};
use futures_core::Stream;
use serde_json::Value;

use super::{catch, catch_async, message};

/// A plugin of the host's own type or with its layers. Panics become errors of the calls (`plugin-failed`, with the type `panic`).
pub(crate) struct CatchPanicPlugin {
    plugin: Arc<dyn PluginInterface>,
    name: String,
    version: String,
}

impl CatchPanicPlugin {
    /// Reads its name and version once, because later they could not fail.
    ///
    /// # Errors
    /// `plugin-failed` if it panics.
    pub(crate) fn new(plugin: Arc<dyn PluginInterface>) -> Result<Self> {
        let asked = catch(|| (plugin.name().to_owned(), plugin.version().to_owned()));
        let (name, version) = asked.map_err(|panic| failed(&panic))?;
        Ok(Self { plugin, name, version })
    }

    /// A plugin with these layers of the host's own, the first one outermost.
    ///
    /// # Errors
    /// `plugin-failed` if one of them panics.
    pub(crate) fn layered(plugin: Arc<dyn PluginInterface>, layers: &[Arc<dyn Layer>]) -> Result<Self> {
        let name = plugin.name().to_owned();
        let wrapped = catch(|| layers.iter().rev().fold(plugin, |plugin, layer| layer.layer(plugin)));
        wrapped.map_err(|panic| failed(&panic)).and_then(Self::new).map_err(|error| error.with_plugin(name))
    }

    async fn catching<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        catch_async(work).await.unwrap_or_else(|panic| Err(failed(&panic).with_plugin(&self.name)))
    }
}

fn failed(panic: &str) -> PluginError {
    PluginError::plugin_failed(Failure::new("panic", panic))
}

#[async_trait]
impl PluginInterface for CatchPanicPlugin {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        self.catching(async { self.plugin.initialize(config).await }).await
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        let id = call.id();
        self.catching(async { self.plugin.execute(call).await }).await.map_err(|error| error.with_call(id))
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        let id = call.id();
        let stream = self.catching(async { self.plugin.execute_stream(call).await }).await;
        let stream = stream.map_err(|error| error.with_call(id))?;
        Ok(PayloadStream::new(CatchPanicStream { stream: Some(stream), plugin: self.name.clone() }))
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.catching(async { self.plugin.methods().await }).await
    }

    async fn config_schema(&self) -> Result<Value> {
        self.catching(async { self.plugin.config_schema().await }).await
    }

    async fn current_config(&self) -> Result<Value> {
        self.catching(async { self.plugin.current_config().await }).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.catching(async { self.plugin.stats().await }).await
    }

    fn position(&self, call: CallId) -> Option<usize> {
        catch(|| self.plugin.position(call)).unwrap_or(None)
    }

    async fn is_alive(&self) -> bool {
        catch_async(async { self.plugin.is_alive().await }).await.unwrap_or(false)
    }

    async fn cleanup(&self) -> Result<()> {
        self.catching(async { self.plugin.cleanup().await }).await
    }
}

/// A stream that ends with an error if it panics.
struct CatchPanicStream {
    stream: Option<PayloadStream>,
    plugin: String,
}

impl Stream for CatchPanicStream {
    type Item = Result<Payload>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(stream).poll_next(cx)));
        polled.unwrap_or_else(|panic| {
            // It is not polled again, and it is dropped here, where a second panic does no harm.
            let rest = self.stream.take();
            let _ = catch(|| drop(rest));
            Poll::Ready(Some(Err(failed(&message(&*panic)).with_plugin(&self.plugin))))
        })
    }
}
