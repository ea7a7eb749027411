//! [`Guest`]: the exports of a component in the types of `bivium-interface`, for all kinds of components.

use async_trait::async_trait;
use bivium_interface::{Call, MethodInfo, Payload, PluginError, Result};
use wasmtime::Store;

use crate::state::HostState;

/// A component whose imports are resolved and whose exports have been found.
#[async_trait]
pub(crate) trait GuestPre: Send + Sync {
    /// Runs the component's start code. The inner error says which export has the wrong type.
    async fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<wasmtime::Result<Box<dyn Guest>>>;

    /// Whether an instance serves only one call, whatever the manifest says.
    fn is_single_use(&self) -> bool {
        false
    }
}

/// The exports of one instance, each looked up once. The outer error of every method is a trap, after which the store cannot be used
/// any more. The inner one is the plugin's own error, or says why the plugin was not called.
#[async_trait]
pub(crate) trait Guest: Send + Sync {
    async fn methods(&self, store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>>;

    /// The schema as JSON text.
    async fn config_schema(&self, store: &mut Store<HostState>) -> wasmtime::Result<String>;

    /// The configuration as JSON text.
    async fn current_config(&self, store: &mut Store<HostState>) -> wasmtime::Result<String>;

    /// `config` is JSON text.
    async fn initialize(&self, store: &mut Store<HostState>, config: String) -> wasmtime::Result<Result<()>>;

    /// Takes the arguments out of the call, as `execute_stream` does. It writes the answer to `result`, since a large return value would
    /// be moved by each of the futures around this one.
    async fn execute(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
        result: &mut Payload,
    ) -> wasmtime::Result<Result<()>>;

    /// A guest without streams gives the one result of `execute`.
    async fn execute_stream(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
    ) -> wasmtime::Result<Result<Box<dyn GuestStream>>> {
        let mut result = Payload::default();
        let done = self.execute(store, call, &mut result).await?;
        Ok(done.map(|()| Box::new(OneResult(Some(result))) as _))
    }

    async fn cleanup(&self, store: &mut Store<HostState>) -> wasmtime::Result<()>;
}

/// A stream that a guest holds open.
#[async_trait]
pub(crate) trait GuestStream: Send + Sync {
    /// Writes the next result to `result`, or `None` at the end.
    async fn next(
        &mut self,
        store: &mut Store<HostState>,
        result: &mut Option<Payload>,
    ) -> wasmtime::Result<Result<()>>;

    /// Makes the guest drop the stream.
    async fn end(self: Box<Self>, store: &mut Store<HostState>) -> wasmtime::Result<()>;
}

/// The single result of a call that was started as a stream.
struct OneResult(Option<Payload>);

#[async_trait]
impl GuestStream for OneResult {
    async fn next(
        &mut self,
        _store: &mut Store<HostState>,
        result: &mut Option<Payload>,
    ) -> wasmtime::Result<Result<()>> {
        *result = self.0.take();
        Ok(Ok(()))
    }

    async fn end(self: Box<Self>, _store: &mut Store<HostState>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The schema of an empty configuration.
pub(crate) const NO_CONFIG_SCHEMA: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;

/// Refuses a configuration that is not empty. `what` completes "… has no configuration".
pub(crate) fn no_config(what: &str, config: &str) -> Result<()> {
    if matches!(config, "{}" | "null") {
        return Ok(());
    }
    Err(PluginError::invalid_config(format!("{what} has no configuration"))
        .with_help("leave the configuration empty, and give the plugin what it needs as arguments"))
}
