//! What a component reaches through WASI: with no permission nothing, with one what it names and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use bivium_interface::{Call, ErrorCode, PluginError, PluginInterface};
use common::{Loaded, load};
use serde_json::{Value, json};

struct Probe(Loaded);

impl Probe {
    async fn new(manifest: Value) -> Self {
        let loaded = load("probe", manifest).await;
        loaded.plugin.initialize(json!({})).await.unwrap();
        Self(loaded)
    }

    async fn run(&self, method: &'static str, arguments: Value) -> Result<Value, PluginError> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let call =
            arguments.into_iter().fold(Call::new().method(method), |call, (name, value)| call.named(name, value));
        self.0.plugin.execute(call).await.map(|payload| payload.json)
    }

    /// The name of the error that WASI gives to the guest, which fails with it.
    async fn fails(&self, method: &'static str, arguments: Value) -> String {
        let error = self.run(method, arguments).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PluginFailed, "{error}");
        error.failure().unwrap().message.clone()
    }
}

#[tokio::test]
async fn hostile_without_permissions_wasi_is_there_and_gives_nothing() {
    let probe = Probe::new(json!({})).await;
    assert_eq!(probe.run("directories", json!({})).await.unwrap(), json!([]));
    assert_eq!(probe.run("environment", json!({})).await.unwrap(), json!([]));
    assert_eq!(probe.run("arguments", json!({})).await.unwrap(), json!([[], null]));
    for dir in ["/", ".", "/tmp", ""] {
        assert_eq!(probe.fails("read", json!({"dir": dir, "path": "etc/passwd"})).await, "no such preopen");
    }
    let error = probe.run("exit", json!({})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Crashed);
}
