//! Components in JavaScript and Python, which contain interpreters: the largest in common use. They are built by
//! `cargo xtask guests --languages`; tests of components that are not built are skipped, with a message.

#[path = "../support/skipped.rs"]
mod skipped;

use std::path::Path;
use std::time::Instant;

use bivium::{Call, Compilation, ErrorCode, PluginManager, WasmConfig};
use bivium_tests::root;
use futures_util::TryStreamExt;
use serde_json::json;
use skipped::skipped;

/// A new manager, like that of a new host. Compiled code is kept from one run of the tests to the next.
fn manager(own: &Path) -> PluginManager {
    let plugins = root().join("examples/plugins-other");
    PluginManager::builder()
        .manifests(plugins.join("javascript"))
        .manifests(plugins.join("python"))
        .data_dir(own)
        // Exactly as many as there are: the pools must be large enough for these.
        .wasm(WasmConfig::new().instances(4).cache_dir(env!("CARGO_TARGET_TMPDIR")))
        .build()
        .unwrap()
}

async fn speaks(name: &str) {
    let component = root().join(format!("examples/plugins-other/target/guests/{name}.wasm"));
    if !component.is_file() {
        skipped(&format!("{name} is not built, see `cargo xtask guests --languages`"));
        return;
    }
    let own = tempfile::tempdir().unwrap();
    let first = manager(own.path()).compile(name).await.unwrap();
    let next = manager(own.path());
    let start = Instant::now();
    let Compilation { was_cached, bytes, .. } = next.compile(name).await.unwrap();
    eprintln!("{name}: {} kB of code, from the cache in {:?}", bytes / 1000, start.elapsed());
    assert!(was_cached && bytes == first.bytes && bytes > 1 << 20);

    next.load_with(name, json!({"separator": "_"})).await.unwrap();
    let titles = json!(["A day at the beach", "Über die Brücke!"]);
    let result = next.execute(name, Call::new().named("titles", titles.clone())).await.unwrap();
    assert_eq!(result.json, json!({"slugs": ["a_day_at_the_beach", "ueber_die_bruecke"]}));
    assert_eq!(next.config(name).unwrap(), json!({"separator": "_"}));
    let stream = next.execute_stream(name, Call::new().named("titles", titles)).await.unwrap();
    let slugs: Vec<_> = stream.map_ok(|payload| payload.json).try_collect().await.unwrap();
    assert_eq!(slugs, [json!({"slug": "a_day_at_the_beach"}), json!({"slug": "ueber_die_bruecke"})]);
    // Each open stream holds an instance.
    let mut streams = Vec::new();
    for _ in 0..4 {
        let titles = json!(["One", "Two"]);
        streams.push(next.execute_stream(name, Call::new().named("titles", titles)).await.unwrap());
    }
    for stream in &mut streams {
        assert_eq!(stream.try_next().await.unwrap().unwrap().json, json!({"slug": "one"}));
    }
    assert_eq!(next.stats(name).await.unwrap().instances.len(), 4);
    drop(streams);
    let error = next.execute(name, Call::new().named("titles", 7)).await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidInput, Some(name)));
    let error = next.execute(name, Call::new().method("nonsense").named("title", "x")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    next.unload(name).await.unwrap();
}

#[tokio::test]
async fn javascript_in_starling_monkey() {
    speaks("slug-js").await;
}

#[tokio::test]
async fn javascript_in_quick_js() {
    speaks("slug-qjs").await;
}

#[tokio::test]
async fn python() {
    speaks("slug-py").await;
}
