//! Typed components: any component that exports functions, without a world of ours, is a plugin whose methods they are.
//!
//! At load the types of the functions are taken in ([`shape`]), with their layout in memory ([`layout`]), and what has
//! no JSON form is refused; JSON Schemas are made from them ([`schema`]). A call's arguments are read against those types
//! before the guest is entered ([`read`]), as they will lie in its memory ([`image`]); what it returns is written as JSON
//! straight from there ([`write`]). What that takes up in the host is counted before it is made ([`cost`](crate::cost)), and the
//! clock is looked at all the while ([`pace`]). Calls run in the same instances and under the same bounds as those of a
//! plugin of the world; `docs/typed-components.md` has the rules for users.

mod cross;
mod flat;
pub(crate) mod fuzzing;
mod image;
mod layout;
mod memory;
mod method;
mod pace;
mod read;
mod schema;
mod shape;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::{Blob, Call, MethodInfo, Payload, PluginError, Result};
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use cross::Lifting;
use image::Image;
pub use layout::Part;
pub(crate) use method::Methods;
use method::{Arguments, Method, Outcome};
use pace::Pace;
pub use shape::{Int, Shape};

use crate::blobs::{self, WriterHandle};
use crate::limits::StoreLimits;
use crate::state::HostState;
use crate::world;

/// The media type of a `list<u8>`: nothing is known of what the bytes mean.
const BYTES: &str = "application/octet-stream";

/// Blobs of the exchange that are so small together are read in place.
const READ_IN_PLACE: u64 = 1 << 20;

/// As many values, or bytes of JSON, are read and written in place: to hand them to another thread takes longer.
const FEW_VALUES: usize = 4 << 10;
/// Bytes of a string that take as long as a value.
const BYTES_LIKE_A_VALUE: usize = 64;

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
            Ok(method) => Arc::clone(method),
            Err(error) => return Ok(Err(error)),
        };
        let StoreLimits { json, values, .. } = store.data().limits;
        let pace = Pace::of(store.data());
        let image = match arguments(&method, call, json, values, &pace).await {
            Ok(image) => image,
            Err(error) => return Ok(Err(error)),
        };
        let Some(function) = self.instance.get_func(&mut *store, method.export) else {
            return Ok(Err(PluginError::internal("the component has lost a function")));
        };
        let lifting = Lifting { method, json, held: values, pace };
        let outcome = match cross::call(store, function, image, lifting).await? {
            Ok(outcome) => checked(outcome, json).await,
            Err(error) => Err(error),
        };
        Ok(match outcome {
            Ok(Outcome { json, blobs, .. }) => {
                keep(store.data_mut(), blobs).await.map(|blobs| *result = Payload { json, blobs })
            }
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

/// A call's arguments; where they are many or its blobs may take long to read, on a thread that may block.
async fn arguments(method: &Arc<Method>, call: &mut Call, json: usize, values: usize, pace: &Pace) -> Result<Image> {
    let size: u64 = call.blobs.iter().map(Blob::size).fold(0, u64::saturating_add);
    let in_place = size <= READ_IN_PLACE
        && call.blobs.iter().all(Blob::is_owned)
        && !are_many(call.positional.iter().chain(call.named.values()));
    let (method, arguments, pace) = (Arc::clone(method), Arguments::take(call), pace.clone());
    let read = move || method.arguments(arguments, json, values, &pace);
    if in_place { read() } else { blobs::blocking(read).await? }
}

/// Whether there are so many values that to read them takes long.
fn are_many<'a>(values: impl Iterator<Item = &'a Value>) -> bool {
    let mut left = FEW_VALUES;
    let mut waiting: Vec<&Value> = values.collect();
    while let Some(value) = waiting.pop() {
        let (inside, long) = match value {
            Value::Array(items) => (items.len(), 0),
            Value::Object(object) => (object.len(), 0),
            Value::String(text) => (0, text.len() / BYTES_LIKE_A_VALUE),
            _ => (0, 0),
        };
        match left.checked_sub(1 + inside + long) {
            Some(rest) => left = rest,
            None => return true,
        }
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(object) => waiting.extend(object.values()),
            _ => {}
        }
    }
    false
}

/// Holds a result against the limit of its text; a long one on a thread that may block.
async fn checked(outcome: Outcome, json: usize) -> Result<Outcome> {
    if outcome.counted <= FEW_VALUES {
        outcome.check(json)
    } else {
        blobs::blocking(move || outcome.check(json)).await?
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
