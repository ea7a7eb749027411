//! Components that use resources that seem to have no limit: time before their first call, and the host's memory behind their
//! requests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::time::Duration;

use bivium_interface::{Call, CircuitState, ErrorCode, PluginError, PluginInterface};
use common::{Loaded, engine, says, try_load};
use serde_json::{Value, json};

/// Long enough for a busy machine; a guest that is not stopped never ends.
const STOPPED: Duration = Duration::from_secs(30);

async fn load(text: &str, more: Value) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    try_load(engine(), &path, more).await.unwrap()
}

async fn fails(loaded: &Loaded, call: Call) -> PluginError {
    let result = tokio::time::timeout(STOPPED, loaded.plugin.execute(call.method("f"))).await;
    result.expect("it is not stopped").unwrap_err()
}

/// A component whose start function does this.
fn start(code: &str) -> String {
    format!(
        r#"(component
            (core module $m
                (memory 1)
                (func $start {code})
                (start $start)
                (func (export "f") (result i32) (i32.const 7)))
            (core instance $i (instantiate $m))
            (func (export "f") (result u32) (canon lift (core func $i "f"))))"#
    )
}

#[tokio::test]
async fn a_start_function_without_end_meets_the_calls_deadline_and_the_limits() {
    let spins = start("(loop (br 0))");
    let loaded = load(&spins, json!({})).await;
    let error = fails(&loaded, Call::new().timeout(Duration::from_millis(100))).await;
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    let cancelled = Call::new();
    let handle = cancelled.handle().clone();
    let (error, ()) = tokio::join!(fails(&loaded, cancelled), async {
        tokio::task::yield_now().await;
        handle.cancel();
    });
    assert_eq!(error.code(), ErrorCode::Cancelled, "{error}");
    let stats = loaded.plugin.stats().await.unwrap();
    assert_eq!((stats.crashes, stats.circuit, stats.starting), (0, CircuitState::Closed, 0));
    let loaded = load(&spins, json!({"limits": {"call_ms": 100}})).await;
    let error = fails(&loaded, Call::new()).await;
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    says(&error, &["limits.call_ms"]);
}

#[tokio::test]
async fn a_start_function_meets_the_limit_of_memory() {
    let grows = start("(loop (br_if 0 (i32.ne (memory.grow (i32.const 100)) (i32.const -1)))) unreachable");
    let loaded = load(&grows, json!({"limits": {"memory_mb": 32}})).await;
    let error = fails(&loaded, Call::new()).await;
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    says(&error, &["limits.memory_mb", "32 MiB"]);
}

#[tokio::test]
async fn too_many_random_numbers_at_once_are_refused_by_name() {
    for name in ["random/random@0.2.0", "random/insecure@0.2.0"] {
        let function = if name.contains("insecure") { "get-insecure-random-bytes" } else { "get-random-bytes" };
        let text = format!(
            r#"(component
                (import "wasi:{name}" (instance $random
                    (export "{function}" (func (param "len" u64) (result (list u8))))))
                (core module $libc
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
                (core instance $libc (instantiate $libc))
                (core func $get (canon lower (func $random "{function}")
                    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
                (core module $m
                    (import "" "get" (func $get (param i64 i32)))
                    (func (export "f") (result i32) (call $get (i64.const -1) (i32.const 0)) (i32.const 7)))
                (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
                (func (export "f") (result u32) (canon lift (core func $i "f"))))"#
        );
        for random in [false, true] {
            let loaded = load(&text, json!({"permissions": {"random": random}})).await;
            let error = fails(&loaded, Call::new()).await;
            assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
            says(&error, &["18446744073709551615 random bytes", "limit of 8388608"]);
        }
    }
}

/// Handles to blobs that are being written keep a media type each: here of 16 MiB, two hundred times.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn handles_keep_no_long_texts() {
    let text = r#"(component
        (import "bivium:plugin/blobs@0.1.0" (instance $blobs
            (export "blob-writer" (type $writer (sub resource)))
            (export "[constructor]blob-writer" (func (param "media-type" string) (result (own $writer))))))
        (core module $libc (memory (export "memory") 257))
        (core instance $libc (instantiate $libc))
        (core func $new (canon lower (func $blobs "[constructor]blob-writer") (memory (core memory $libc "memory"))))
        (core module $m
            (import "" "new" (func $new (param i32 i32) (result i32)))
            (func (export "f") (result i32) (local $n i32)
                (loop $again
                    (drop (call $new (i32.const 0) (i32.const 0x1000000)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const 200))))
                (i32.const 7)))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
        (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;
    let loaded = load(text, json!({})).await;
    let before = common::peak();
    let result = loaded.plugin.execute(Call::new().method("f")).await.unwrap();
    assert_eq!(result.json, json!(7));
    let grown = common::peak() - before;
    assert!(grown < 1024, "{grown} MiB for 200 handles");
}
