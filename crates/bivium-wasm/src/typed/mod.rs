//! Typed components: any component that exports functions, without a world of ours, is a plugin whose methods they are.
//!
//! At load the types of the functions are taken in ([`shape`]) and what has no JSON form is refused; JSON Schemas are
//! made from them ([`schema`]). A call's arguments are read into component values against those types before the guest
//! is entered ([`read`]), and what it returns is written as JSON ([`write`]). Calls run in the same instances and under
//! the same bounds as those of a plugin of the world; `docs/typed-components.md` has the rules for users.

mod method;
mod read;
mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::{Blob, Call, MethodInfo, Payload, PluginError, Result};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Val};

use method::Arguments;
pub(crate) use method::Methods;
pub(crate) use read::Reader;
pub use shape::{Int, Shape};
pub(crate) use write::Writer;

use crate::blobs::{self, WriterHandle};
use crate::limits::StoreLimits;
use crate::state::HostState;
use crate::world;

/// The media type of a `list<u8>`: nothing is known of what the bytes mean.
const BYTES: &str = "application/octet-stream";

/// Blobs of the exchange that are so small together are read in place.
const READ_IN_PLACE: u64 = 1 << 20;

/// A typed component whose imports are resolved.
pub(crate) struct GuestPre {
    instance: InstancePre<HostState>,
    methods: Arc<Methods>,
}

impl GuestPre {
    pub(crate) fn new(instance: InstancePre<HostState>, methods: Methods) -> Self {
        Self { instance, methods: Arc::new(methods) }
    }
}

#[async_trait]
impl world::GuestPre for GuestPre {
    async fn instantiate(
        &self,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<wasmtime::Result<Box<dyn world::Guest>>> {
        let values = store.data().limits.values;
        store.data_mut().limits.handed = values;
        store.set_hostcall_fuel(values);
        let instance = self.instance.instantiate_async(store).await?;
        Ok(Ok(Box::new(Guest { instance, methods: Arc::clone(&self.methods) })))
    }
}

struct Guest {
    instance: Instance,
    methods: Arc<Methods>,
}

#[async_trait]
impl world::Guest for Guest {
    async fn methods(&self, _store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>> {
        Ok(self.methods.list())
    }

    async fn config_schema(&self, _store: &mut Store<HostState>) -> wasmtime::Result<String> {
        Ok(r#"{"type":"object","properties":{},"additionalProperties":false}"#.to_owned())
    }

    async fn current_config(&self, _store: &mut Store<HostState>) -> wasmtime::Result<String> {
        Ok("{}".to_owned())
    }

    async fn initialize(&self, _store: &mut Store<HostState>, config: String) -> wasmtime::Result<Result<()>> {
        Ok(if matches!(config.as_str(), "{}" | "null") {
            Ok(())
        } else {
            Err(PluginError::invalid_config("a typed component has no configuration")
                .with_help("leave the configuration empty, and give the plugin what it needs as arguments"))
        })
    }

    async fn execute(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
        result: &mut Payload,
    ) -> wasmtime::Result<Result<()>> {
        let method = match self.methods.find(&call.method) {
            Ok(method) => method,
            Err(error) => return Ok(Err(error)),
        };
        let arguments = match self.arguments(store.data().limits, call).await {
            Ok(arguments) => arguments,
            Err(error) => return Ok(Err(error)),
        };
        let Some(function) = self.instance.get_func(&mut *store, method.export) else {
            return Ok(Err(PluginError::internal("the component has lost a function")));
        };
        let mut results = method.results();
        function.call_async(&mut *store, &arguments, &mut results).await?;
        let state = store.data_mut();
        Ok(match method.outcome(results, state.limits.json) {
            Ok((json, bytes)) => keep(state, bytes).await.map(|blobs| *result = Payload { json, blobs }),
            Err(error) => Err(error),
        })
    }

    /// The one result, made at once.
    async fn execute_stream(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
    ) -> wasmtime::Result<Result<Box<dyn world::GuestStream>>> {
        let mut result = Payload::default();
        let done = self.execute(store, call, &mut result).await?;
        Ok(done.map(|()| Box::new(GuestStream(Some(result))) as _))
    }

    async fn cleanup(&self, _store: &mut Store<HostState>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Guest {
    /// A call's arguments; where its blobs may take long to read, on a thread that may block.
    async fn arguments(&self, limits: StoreLimits, call: &mut Call) -> Result<Vec<Val>> {
        let size: u64 = call.blobs.iter().map(Blob::size).fold(0, u64::saturating_add);
        let in_place = size <= READ_IN_PLACE && call.blobs.iter().all(Blob::is_owned);
        let (methods, method) = (Arc::clone(&self.methods), call.method.clone());
        let arguments = Arguments::take(call);
        let read = move || methods.find(&method)?.arguments(arguments, limits.json, limits.values);
        if in_place { read() } else { blobs::blocking(read).await? }
    }
}

/// Puts bytes into blobs.
async fn keep(state: &mut HostState, bytes: Vec<Vec<u8>>) -> Result<Vec<Blob>> {
    if bytes.len() > state.limits.blobs {
        return Err(PluginError::resource_exhausted(format!(
            "the result has {} lists of bytes that are handed on as blobs, over the limit of {} blobs",
            bytes.len(),
            state.limits.blobs
        ))
        .with_help("raise `limits.blobs` in its manifest"));
    }
    let mut kept = Vec::with_capacity(bytes.len());
    for bytes in bytes {
        state.charge(bytes.len())?;
        let mut writer = WriterHandle::New { media_type: BYTES.to_owned() };
        writer.write(&state.exchange, bytes).await?;
        kept.push(writer.finish(&state.exchange)?.blob()?);
    }
    Ok(kept)
}

/// The one result of a call that was asked for as a stream.
struct GuestStream(Option<Payload>);

#[async_trait]
impl world::GuestStream for GuestStream {
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
