//! The world's exports, implemented with an [`Instance`]: what [`export!`](crate::export) passes to wit-bindgen.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;

use crate::instance::{Instance, OpenStream};
use crate::sys::bindings::bivium::plugin::{blobs, types};
use crate::sys::bindings::exports::bivium::plugin::{guest, signatures};
use crate::sys::{Handle, to_wire};
use crate::{Blob, Payload, Plugin};

thread_local! {
    /// The component's only instance. Only the caller of [`with`] knows its type.
    static INSTANCE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// The component of a plugin.
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

fn with<P: Plugin, R>(act: impl FnOnce(&mut Instance<P>) -> R) -> R {
    INSTANCE.with_borrow_mut(|slot| {
        let any = slot.get_or_insert_with(|| Box::new(Instance::<P>::new()));
        match any.downcast_mut() {
            Some(instance) => act(instance),
            None => unreachable!("a component exports one plugin"),
        }
    })
}

fn from_wire(payload: blobs::Payload) -> Payload {
    let blobs = payload.blobs.into_iter().map(|handle| Blob::from(Handle(handle))).collect();
    Payload { json: payload.json, blobs }
}

fn payload_to_wire(payload: Payload) -> blobs::Payload {
    let blobs = payload.blobs.into_iter().map(|blob| blob.into_handle().0).collect();
    blobs::Payload { json: payload.json, blobs }
}

impl<P: Plugin> guest::Guest for Component<P> {
    type PayloadStream = Results;

    fn describe() -> guest::Description {
        guest::Description {
            name: P::NAME.into(),
            version: P::VERSION.into(),
            summary: P::SUMMARY.into(),
            methods: P::METHODS
                .iter()
                .map(|method| guest::Method { name: method.name.into(), description: method.description.into() })
                .collect(),
        }
    }

    fn config_schema() -> String {
        P::config_schema().to_string()
    }

    fn initialize(config: String) -> Result<(), types::Error> {
        with::<P, _>(|instance| instance.initialize(&config)).map_err(to_wire)
    }

    fn current_config() -> String {
        with::<P, _>(|instance| instance.current_config())
    }

    fn execute(method: String, input: blobs::Payload) -> Result<blobs::Payload, types::Error> {
        with::<P, _>(|instance| instance.execute(&method, from_wire(input))).map(payload_to_wire).map_err(to_wire)
    }

    fn execute_stream(method: String, input: blobs::Payload) -> Result<guest::PayloadStream, types::Error> {
        with::<P, _>(|instance| instance.execute_stream(&method, from_wire(input)))
            .map(|stream| guest::PayloadStream::new(Results(RefCell::new(stream))))
            .map_err(to_wire)
    }

    fn cleanup() {
        with::<P, _>(Instance::cleanup);
    }
}

impl<P: Plugin> signatures::Guest for Component<P> {
    fn signatures() -> String {
        crate::instance::signatures::<P>().to_string()
    }
}

/// The results of a running stream.
pub struct Results(RefCell<OpenStream>);

impl guest::GuestPayloadStream for Results {
    fn next(&self) -> Result<Option<blobs::Payload>, types::Error> {
        self.0.borrow_mut().next().map(|next| next.map(payload_to_wire)).map_err(to_wire)
    }
}
