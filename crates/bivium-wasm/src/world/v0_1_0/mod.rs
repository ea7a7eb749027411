//! World `bivium:plugin/plugin@0.1.0`.

mod blobs;
mod convert;
mod host;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::{Call, ErrorCode, MethodInfo, Payload, PluginError, Result};
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker, ResourceAny, TypedFunc};

use crate::capability::blobs as capability;
use crate::state::HostState;
use crate::{document, guest, refusal};
use bindings::bivium::plugin as wit;
use bindings::exports::bivium::plugin::guest::Guest as Exports;

/// The bindings that wasmtime generates from `wit/`. Their only unsafe code turns a function, whose type was checked at instantiation,
/// into a typed one without another check.
#[allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, clippy::indexing_slicing)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "plugin",
        imports: {
            "bivium:plugin/blobs.[method]blob.read": async | trappable,
            "bivium:plugin/blobs.[method]blob-writer.write": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "bivium:plugin/blobs.blob": crate::capability::blobs::handle::BlobHandle,
            "bivium:plugin/blobs.blob-writer": crate::capability::blobs::handle::WriterHandle,
        },
        require_store_data_send: true,
    });
}

/// The interface of [`signatures`].
const SIGNATURES: &str = "bivium:plugin/signatures@0.1.0";
/// The most methods of one plugin that are listed.
const MOST_METHODS: usize = 1000;
/// The longest text of signatures that is read, in bytes.
const MOST_SIGNATURES: usize = 1 << 20;

pub(super) const VERSION: &str = "0.1.0";

/// Links what a component of this version imports.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    bindings::Plugin::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

/// Finds the exports; an error says which is missing.
pub(super) fn guest(instance: InstancePre<HostState>) -> wasmtime::Result<Box<dyn guest::GuestPre>> {
    let exports = bindings::PluginIndices::new(&instance)?;
    Ok(Box::new(WorldGuestPre { instance, exports }))
}

struct WorldGuestPre {
    instance: InstancePre<HostState>,
    exports: bindings::PluginIndices,
}

#[async_trait]
impl guest::GuestPre for WorldGuestPre {
    async fn instantiate(
        &self,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<wasmtime::Result<Box<dyn guest::Guest>>> {
        let instance = self.instance.instantiate_async(&mut *store).await?;
        let guest = |exports| Box::new(WorldGuest { plugin: Arc::new(exports), instance }) as _;
        Ok(self.exports.load(store, &instance).map(guest))
    }
}

/// A method with its signature from `signatures`, if the component gives one.
fn method(name: String, description: String, signatures: &Value) -> MethodInfo {
    let signature = |key: &str| signatures.get(&name)?.get(key);
    let schema = |key: &str| signature(key).filter(|schema| schema.is_object()).cloned();
    let (parameters, returns) = (schema("parameters"), schema("returns"));
    let streams = signature("streams").and_then(Value::as_bool).unwrap_or_default();
    MethodInfo::new(name)
        .with_description(description)
        .with_parameters(parameters)
        .with_returns(returns)
        .with_streams(streams)
}

/// The function that returns the signatures, if the component has it.
fn signatures(store: &mut Store<HostState>, instance: &Instance) -> Option<TypedFunc<(), (String,)>> {
    let interface = instance.get_export_index(&mut *store, None, SIGNATURES)?;
    let function = instance.get_export_index(&mut *store, Some(&interface), "signatures")?;
    instance.get_typed_func(store, function).ok()
}

struct WorldGuest {
    plugin: Arc<bindings::Plugin>,
    instance: Instance,
}

struct WorldGuestStream {
    plugin: Arc<bindings::Plugin>,
    handle: ResourceAny,
}

impl WorldGuest {
    fn exports(&self) -> &Exports {
        self.plugin.bivium_plugin_guest()
    }

    /// The error of a call that the guest refused. If the guest has no method of this name, the error suggests a similar one.
    async fn refused(
        &self,
        store: &mut Store<HostState>,
        method: &str,
        error: PluginError,
    ) -> wasmtime::Result<PluginError> {
        if error.code() != ErrorCode::NotFound || method == Call::EXECUTE {
            return Ok(error);
        }
        let known = self.exports().call_describe(store).await?.methods;
        let known = || std::iter::once(Call::EXECUTE).chain(known.iter().map(|method| method.name.as_str()));
        let is_known = known().any(|known| known == method);
        Ok(match refusal::did_you_mean(method, known()).filter(|_| !is_known) {
            Some(meant) => error.with_help(meant),
            None => error,
        })
    }
}

#[async_trait]
impl guest::Guest for WorldGuest {
    async fn methods(&self, store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>> {
        let description = self.exports().call_describe(&mut *store).await?;
        let text = match signatures(&mut *store, &self.instance) {
            Some(signatures) => signatures.call_async(&mut *store, ()).await?.0,
            None => String::new(),
        };
        // Signatures that are not JSON, or too long, are ignored: the methods are listed all the same.
        let signatures: Value = match text.len() {
            1..=MOST_SIGNATURES => serde_json::from_str(&text).unwrap_or_default(),
            _ => Value::Null,
        };
        let execute = (Call::EXECUTE.to_owned(), description.summary);
        let others = description.methods.into_iter().map(|method| (method.name, method.description));
        let all = std::iter::once(execute).chain(others).take(MOST_METHODS);
        Ok(all.map(|(name, description)| method(name, description, &signatures)).collect())
    }

    async fn config_schema(&self, store: &mut Store<HostState>) -> wasmtime::Result<String> {
        self.exports().call_config_schema(store).await
    }

    async fn current_config(&self, store: &mut Store<HostState>) -> wasmtime::Result<String> {
        self.exports().call_current_config(store).await
    }

    async fn initialize(&self, store: &mut Store<HostState>, config: String) -> wasmtime::Result<Result<()>> {
        Ok(self.exports().call_initialize(store, &config).await?.map_err(Into::into))
    }

    async fn execute(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
        result: &mut Payload,
    ) -> wasmtime::Result<Result<()>> {
        let input = match lend(store, call).await? {
            Ok(lent) => lent,
            Err(error) => return Ok(Err(error)),
        };
        match self.exports().call_execute(&mut *store, &call.method, &input).await? {
            Ok(output) => Ok(take(store, output).await?.map(|payload| *result = payload)),
            Err(error) => self.refused(store, &call.method, error.into()).await.map(Err),
        }
    }

    async fn execute_stream(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
    ) -> wasmtime::Result<Result<Box<dyn guest::GuestStream>>> {
        let input = match lend(store, call).await? {
            Ok(lent) => lent,
            Err(error) => return Ok(Err(error)),
        };
        match self.exports().call_execute_stream(&mut *store, &call.method, &input).await? {
            Ok(handle) => Ok(Ok(Box::new(WorldGuestStream { plugin: Arc::clone(&self.plugin), handle }))),
            Err(error) => self.refused(store, &call.method, error.into()).await.map(Err),
        }
    }

    async fn cleanup(&self, store: &mut Store<HostState>) -> wasmtime::Result<()> {
        self.exports().call_cleanup(store).await
    }
}

#[async_trait]
impl guest::GuestStream for WorldGuestStream {
    async fn next(
        &mut self,
        store: &mut Store<HostState>,
        result: &mut Option<Payload>,
    ) -> wasmtime::Result<Result<()>> {
        let stream = self.plugin.bivium_plugin_guest().payload_stream();
        match stream.call_next(&mut *store, self.handle).await? {
            Ok(Some(output)) => Ok(take(store, output).await?.map(|payload| *result = Some(payload))),
            Ok(None) => Ok(Ok(())),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn end(self: Box<Self>, store: &mut Store<HostState>) -> wasmtime::Result<()> {
        self.handle.resource_drop_async(store).await
    }
}

/// The input of a call for the guest; the inner error is one of its arguments.
async fn lend(store: &mut Store<HostState>, call: &mut Call) -> wasmtime::Result<Result<wit::blobs::Payload>> {
    let limits = store.data().store.limits.document;
    let pace = document::are_many(call).then(|| store.data().store.pace());
    let json = match document::arguments(call, limits, pace).await {
        Ok(json) => json,
        Err(error) => return Ok(Err(error)),
    };
    let HostState { store: own, blobs, .. } = store.data_mut();
    let blobs = blobs.lend(own, std::mem::take(&mut call.blobs))?;
    Ok(Ok(wit::blobs::Payload { json, blobs }))
}

#[inline]
async fn take(store: &mut Store<HostState>, output: wit::blobs::Payload) -> wasmtime::Result<Result<Payload>> {
    let blobs = match capability::take(&mut store.data_mut().store, output.blobs)? {
        Ok(blobs) => blobs,
        Err(error) => return Ok(Err(error)),
    };
    let limits = store.data().store.limits.document;
    let pace = document::is_long(&output.json).then(|| store.data().store.pace());
    Ok(document::payload(output.json, blobs, limits, pace).await)
}
