//! A worker in an environment that was made for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod common;

use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{Call, HostPolicy, PluginInterface};
use bivium_records::PluginLog;
use bivium_worker::{PythonManifest, RemotePluginProxy, WorkerPlaces};
use common::manifest;
use serde_json::json;

#[tokio::test]
async fn a_worker_runs_in_the_environment_that_was_made() {
    let place = tempfile::tempdir().unwrap();
    let exchange = Exchange::open().unwrap();
    // Nothing is installed, so this needs no package index.
    let manifest = manifest("Echo", json!({"requirements": []}));
    let log = PluginLog::new("sample");
    let context = PluginContext::new(log, HostPolicy::default().grant(&manifest));
    let places = WorkerPlaces { environments: Some(place.path().to_owned()), ..WorkerPlaces::default() };
    let manifest = PythonManifest::of(&manifest).unwrap();
    let plugin = RemotePluginProxy::load(&manifest, &exchange, context, &places, None).await.unwrap();
    let found = plugin.execute(Call::new().method("environment")).await.unwrap();
    let on_path = found.json["path"].to_string().contains(place.path().to_str().unwrap());
    assert!(on_path, "{}", found.json["path"]);
    plugin.cleanup().await.unwrap();
}
