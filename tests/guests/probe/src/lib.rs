//! `probe`: asks WASI for what it may be denied, one method each. Written on the bare bindings, as no compiler here has a
//! standard library that uses WASI, and so that each request is exactly the one that a test means.

mod ambient;
mod files;
mod http;
mod sockets;

use serde_json::{Value, json};

mod bindings {
    wit_bindgen::generate!({ world: "bivium:probe/probe", path: ["../../../wit", "wit"], generate_all });
}

use bindings::bivium::plugin::{blobs, types};
use bindings::exports::bivium::plugin::guest;
use bindings::wasi;

/// What a method gives: its result, or the name that WASI gives to the error.
type Outcome = Result<Value, String>;
type Probe = fn(&Value) -> Outcome;

struct Plugin;

fn find(method: &str) -> Option<Probe> {
    let mut all = [ambient::METHODS, files::METHODS, http::METHODS, sockets::METHODS].into_iter().flatten();
    all.find(|(name, _)| *name == method).map(|(_, probe)| *probe)
}

/// The text of an argument, or nothing.
fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments[name].as_str().unwrap_or_default()
}

/// Several methods one after the other: `{"steps": [{"do": METHOD, …}, …]}` gives a list of `{"ok": …}` and
/// `{"error": …}`.
fn steps(arguments: &Value) -> Outcome {
    let steps = arguments["steps"].as_array().into_iter().flatten();
    let outcomes = steps.map(|step| match find(text(step, "do")).map(|probe| probe(step)) {
        Some(Ok(value)) => json!({"ok": value}),
        Some(Err(error)) => json!({"error": error}),
        None => json!({"error": "no such method"}),
    });
    Ok(outcomes.collect())
}

impl guest::Guest for Plugin {
    type PayloadStream = NoStream;

    fn describe() -> guest::Description {
        guest::Description {
            name: "probe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Asks WASI for what it may be denied.".into(),
            methods: Vec::new(),
        }
    }

    fn config_schema() -> String {
        "{}".into()
    }

    fn initialize(_: String) -> Result<(), types::Error> {
        Ok(())
    }

    fn current_config() -> String {
        "{}".into()
    }

    fn execute(method: String, input: blobs::Payload) -> Result<blobs::Payload, types::Error> {
        let arguments: Value = serde_json::from_str(&input.json).unwrap_or_default();
        let outcome = match (method.as_str(), find(&method)) {
            ("steps", _) => steps(&arguments),
            (_, Some(probe)) => probe(&arguments),
            _ => return Err(types::Error::NotFound(format!("there is no method {method:?}"))),
        };
        match outcome {
            Ok(value) => Ok(blobs::Payload { json: value.to_string(), blobs: Vec::new() }),
            Err(message) => {
                Err(types::Error::PluginFailed(types::Failure { kind: "wasi".into(), message, trace: String::new() }))
            }
        }
    }

    fn execute_stream(_: String, _: blobs::Payload) -> Result<guest::PayloadStream, types::Error> {
        Err(types::Error::NotFound("there are no streams".into()))
    }

    fn cleanup() {}
}

struct NoStream;

impl guest::GuestPayloadStream for NoStream {
    fn next(&self) -> Result<Option<blobs::Payload>, types::Error> {
        Ok(None)
    }
}

bindings::export!(Plugin with_types_in bindings);
