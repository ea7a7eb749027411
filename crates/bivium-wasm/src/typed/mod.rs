//! Typed components: any component that exports functions, but not Bivium's world, is a plugin whose methods are these functions.
//!
//! When it is loaded, the types of the functions are read ([`types`]) and laid out for memory ([`shape`]), functions with types that have
//! no JSON form are refused, and JSON Schemas are made ([`schema`]). A call's arguments are checked against the types before the guest is
//! called ([`read`]), and laid out for its memory ([`image`]); the result is written as JSON directly from that memory ([`write`]). Its
//! size in the host is counted before it is made ([`cost`](document::cost)), and the clock is checked meanwhile ([`Pace`]). Calls run in
//! the same instances and within the same limits as those of a plugin of the world; `docs/typed-components.md` has the rules for users.

mod cross;
mod display;
mod flat;
pub(crate) mod fuzzing;
mod image;
mod layout;
mod memory;
mod method;
mod methods;
mod numbers;
mod read;
mod schema;
mod shape;
mod shown;
mod types;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_instances::document::{self, DocumentLimits, Pace};
use bivium_interface::{Blob, Call, MethodInfo, Payload, PluginError, Result};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use cross::Lifting;
use image::Image;
use method::{Arguments, Method, Outcome};
pub(crate) use methods::Methods;
pub use shape::{Int, Part, Shape};

use crate::guest::{self, NO_CONFIG_SCHEMA, no_config};
use crate::state::HostState;

/// Blobs of the exchange of at most this many bytes together are read in place.
const READ_IN_PLACE: u64 = 1 << 20;

/// A result whose text has at most this many bytes is measured in place: handing it to another thread takes longer.
const SHORT_TEXT: usize = 4 << 10;

/// A typed component whose imports are resolved.
pub(crate) struct TypedGuestPre {
    instance: InstancePre<HostState>,
    methods: Arc<Methods>,
}

impl TypedGuestPre {
    pub(crate) fn new(instance: InstancePre<HostState>, methods: Methods) -> Self {
        Self { instance, methods: Arc::new(methods) }
    }
}

#[async_trait]
impl guest::GuestPre for TypedGuestPre {
    async fn instantiate(
        &self,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<wasmtime::Result<Box<dyn guest::Guest>>> {
        let instance = self.instance.instantiate_async(store).await?;
        Ok(Ok(Box::new(TypedGuest { instance, methods: Arc::clone(&self.methods) })))
    }
}

struct TypedGuest {
    instance: Instance,
    methods: Arc<Methods>,
}

#[async_trait]
impl guest::Guest for TypedGuest {
    async fn methods(&self, _store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>> {
        Ok(self.methods.list())
    }

    async fn config_schema(&self, _store: &mut Store<HostState>) -> wasmtime::Result<String> {
        Ok(NO_CONFIG_SCHEMA.to_owned())
    }

    async fn current_config(&self, _store: &mut Store<HostState>) -> wasmtime::Result<String> {
        Ok("{}".to_owned())
    }

    async fn initialize(&self, _store: &mut Store<HostState>, config: String) -> wasmtime::Result<Result<()>> {
        Ok(no_config("a typed component", &config))
    }

    async fn execute(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
        result: &mut Payload,
    ) -> wasmtime::Result<Result<()>> {
        let method = match self.methods.find(&call.method) {
            Ok(method) => Arc::clone(method),
            Err(error) => return Ok(Err(error)),
        };
        let (limits, pace) = (store.data().store.limits.document, store.data().store.pace());
        let image = match arguments(&method, call, limits, &pace).await {
            Ok(image) => image,
            Err(error) => return Ok(Err(error)),
        };
        let Some(function) = self.instance.get_func(&mut *store, method.export) else {
            return Ok(Err(PluginError::internal("a function of the component is missing")));
        };
        let lifting = Lifting { method, limits, pace: pace.clone() };
        let outcome = match cross::call(store, function, image, lifting).await? {
            Ok(outcome) => checked(outcome, limits, pace).await,
            Err(error) => Err(error),
        };
        Ok(match outcome {
            Ok(Outcome { json, blobs, .. }) => {
                let HostState { store, blobs: own, .. } = store.data_mut();
                own.keep(store, blobs).await.map(|blobs| *result = Payload { json, blobs })
            }
            Err(error) => Err(error),
        })
    }

    async fn cleanup(&self, _store: &mut Store<HostState>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A call's arguments, laid out; on a blocking thread if they are many or its blobs may take long to read.
async fn arguments(method: &Arc<Method>, call: &mut Call, limits: DocumentLimits, pace: &Pace) -> Result<Image> {
    let size: u64 = call.blobs.iter().map(Blob::size).fold(0, u64::saturating_add);
    let in_place = size <= READ_IN_PLACE
        && call.blobs.iter().all(Blob::is_owned)
        && !document::are_many(call.positional.iter().chain(call.named.values()));
    let (method, arguments, pace) = (Arc::clone(method), Arguments::take(call), pace.clone());
    document::aside(!in_place, move || method.arguments(arguments, limits, &pace)).await?
}

/// Checks a result against the limit of its text; a long one on a blocking thread.
async fn checked(outcome: Outcome, limits: DocumentLimits, pace: Pace) -> Result<Outcome> {
    document::aside(outcome.counted > SHORT_TEXT, move || outcome.check(limits, &pace)).await?
}
