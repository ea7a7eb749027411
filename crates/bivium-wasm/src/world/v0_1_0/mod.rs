//! World `bivium:plugin/plugin@0.1.0`.

mod blobs;
mod convert;
mod host;

use bivium_interface::{Blob, MethodInfo, Payload, Result};
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker, ResourceAny};

use crate::document;
use crate::state::HostState;
use bindings::bivium::plugin as wit;
use bindings::exports::bivium::plugin::guest::Guest as Exports;

/// What wasmtime generates from `wit/`. Its only unsafe code turns a function whose type was checked at
/// instantiation into a typed one without checking it again.
#[allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, clippy::indexing_slicing)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plugin",
        imports: {
            "bivium:plugin/blobs.[method]blob.read": async | trappable,
            "bivium:plugin/blobs.[method]blob-writer.write": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "bivium:plugin/blobs.blob": crate::blobs::BlobHandle,
            "bivium:plugin/blobs.blob-writer": crate::blobs::WriterHandle,
        },
        require_store_data_send: true,
    });
}

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    bindings::Plugin::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

/// A component whose imports are resolved and whose exports have been found.
#[derive(Clone)]
pub(crate) struct GuestPre {
    instance: InstancePre<HostState>,
    exports: bindings::PluginIndices,
}

impl GuestPre {
    /// # Errors
    /// An export is missing.
    pub(crate) fn new(instance: InstancePre<HostState>) -> wasmtime::Result<Self> {
        let exports = bindings::PluginIndices::new(&instance)?;
        Ok(Self { instance, exports })
    }

    /// Runs the component's start code. The inner error says which export has the wrong type.
    pub(crate) async fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<wasmtime::Result<Guest>> {
        let instance = self.instance.instantiate_async(&mut *store).await?;
        Ok(self.exports.load(store, &instance).map(Guest))
    }
}

/// The exports of one instance, each looked up once. The outer error of every method is a trap, after which the store
/// is of no more use; the inner one is the plugin's answer.
pub(crate) struct Guest(bindings::Plugin);

/// A stream that the guest holds open.
#[derive(Clone, Copy)]
pub(crate) struct GuestStream(ResourceAny);

impl Guest {
    fn exports(&self) -> &Exports {
        self.0.bivium_plugin_guest()
    }

    pub(crate) async fn methods(&self, store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>> {
        let description = self.exports().call_describe(store).await?;
        let methods = description.methods.into_iter();
        Ok(methods
            .map(|method| MethodInfo {
                name: method.name,
                description: method.description,
                parameters: None,
                returns: None,
            })
            .collect())
    }

    pub(crate) async fn config_schema(&self, store: &mut Store<HostState>) -> wasmtime::Result<String> {
        self.exports().call_config_schema(store).await
    }

    pub(crate) async fn current_config(&self, store: &mut Store<HostState>) -> wasmtime::Result<String> {
        self.exports().call_current_config(store).await
    }

    pub(crate) async fn initialize(
        &self,
        store: &mut Store<HostState>,
        config: String,
    ) -> wasmtime::Result<Result<()>> {
        Ok(self.exports().call_initialize(store, &config).await?.map_err(Into::into))
    }

    pub(crate) async fn execute(
        &self,
        store: &mut Store<HostState>,
        method: &str,
        json: String,
        blobs: Vec<Blob>,
    ) -> wasmtime::Result<Result<Payload>> {
        let input = wit::blobs::Payload { json, blobs: store.data_mut().lend(blobs)? };
        match self.exports().call_execute(&mut *store, method, &input).await? {
            Ok(output) => take(store.data_mut(), output),
            Err(error) => Ok(Err(error.into())),
        }
    }

    pub(crate) async fn execute_stream(
        &self,
        store: &mut Store<HostState>,
        method: &str,
        json: String,
        blobs: Vec<Blob>,
    ) -> wasmtime::Result<Result<GuestStream>> {
        let input = wit::blobs::Payload { json, blobs: store.data_mut().lend(blobs)? };
        let stream = self.exports().call_execute_stream(store, method, &input).await?;
        Ok(stream.map(GuestStream).map_err(Into::into))
    }

    pub(crate) async fn next(
        &self,
        store: &mut Store<HostState>,
        stream: GuestStream,
    ) -> wasmtime::Result<Result<Option<Payload>>> {
        match self.exports().payload_stream().call_next(&mut *store, stream.0).await? {
            Ok(Some(output)) => Ok(take(store.data_mut(), output)?.map(Some)),
            Ok(None) => Ok(Ok(None)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    pub(crate) async fn drop_stream(&self, store: &mut Store<HostState>, stream: GuestStream) -> wasmtime::Result<()> {
        stream.0.resource_drop_async(store).await
    }

    pub(crate) async fn cleanup(&self, store: &mut Store<HostState>) -> wasmtime::Result<()> {
        self.exports().call_cleanup(store).await
    }
}

fn take(state: &mut HostState, output: wit::blobs::Payload) -> wasmtime::Result<Result<Payload>> {
    let blobs = state.take(output.blobs)?;
    Ok(blobs.and_then(|blobs| document::payload(&output.json, blobs, state.json_limit)))
}
