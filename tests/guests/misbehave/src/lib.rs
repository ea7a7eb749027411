//! `misbehave`: does what no plugin should do, one method each. Written on the bare bindings, since the SDK would not
//! let it.

mod behaviour;
mod streams;

use std::cell::RefCell;

use serde_json::Value;

mod bindings {
    wit_bindgen::generate!({ world: "plugin", path: "../../../wit" });
}

use bindings::bivium::plugin::{blobs, host, types};
use bindings::exports::bivium::plugin::guest;

struct Misbehave;

thread_local! {
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
}

/// Whether the configuration asks for this misbehaviour at this point.
fn configured(point: &str, what: &str) -> bool {
    CONFIG.with_borrow(|config| config[point] == what)
}

fn misbehave_at(point: &str) {
    if configured(point, "spin") {
        behaviour::spin();
    }
    if configured(point, "trap") {
        behaviour::trap();
    }
}

fn arguments(input: &blobs::Payload) -> Value {
    serde_json::from_str(&input.json).unwrap_or_default()
}

fn json(text: impl Into<String>) -> Result<blobs::Payload, types::Error> {
    Ok(blobs::Payload { json: text.into(), blobs: Vec::new() })
}

impl guest::Guest for Misbehave {
    type PayloadStream = streams::Misbehaving;

    fn describe() -> guest::Description {
        guest::Description {
            name: "misbehave".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Does what no plugin should do.".into(),
            methods: behaviour::METHODS
                .iter()
                .map(|(name, _)| guest::Method { name: (*name).into(), description: String::new() })
                .collect(),
        }
    }

    fn config_schema() -> String {
        "{}".into()
    }

    fn initialize(config: String) -> Result<(), types::Error> {
        std::panic::set_hook(Box::new(|panic| host::log(host::Level::Error, &panic.to_string())));
        let config: Value = serde_json::from_str(&config).unwrap_or_default();
        if config["bad"] == true {
            return Err(types::Error::InvalidConfig("this configuration is bad".into()));
        }
        CONFIG.set(config);
        misbehave_at("initialize");
        Ok(())
    }

    fn current_config() -> String {
        if configured("current-config", "not-json") {
            return "{".into();
        }
        CONFIG.with_borrow(Value::to_string)
    }

    fn execute(method: String, input: blobs::Payload) -> Result<blobs::Payload, types::Error> {
        match behaviour::METHODS.iter().find(|(name, _)| *name == method) {
            Some((_, run)) => run(input),
            None => Err(types::Error::NotFound(format!("there is no method {method:?}"))),
        }
    }

    fn execute_stream(method: String, input: blobs::Payload) -> Result<guest::PayloadStream, types::Error> {
        streams::Misbehaving::start(&method, &input).map(guest::PayloadStream::new)
    }

    fn cleanup() {
        host::log(host::Level::Info, "cleaning up");
        misbehave_at("cleanup");
    }
}

bindings::export!(Misbehave with_types_in bindings);
