//! Components with garbage collection and exceptions, as the compilers of Kotlin and C++ make them: they work, and the same limits
//! hold as for others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::sync::OnceLock;
use std::time::Duration;

use bivium_interface::{Call, ErrorCode, Payload, PluginError, PluginInterface};
use bivium_wasm::{WasmConfig, WasmEngine};
use common::{Loaded, says, try_load};
use serde_json::{Value, json};

/// Long enough for a busy machine; a guest that is not stopped never ends.
const STOPPED: Duration = Duration::from_secs(60);

/// With pools and without.
fn engines() -> &'static [WasmEngine; 2] {
    static ENGINES: OnceLock<[WasmEngine; 2]> = OnceLock::new();
    ENGINES.get_or_init(|| {
        [true, false]
            .map(|pooling| WasmEngine::new(WasmConfig::new().instances(4).pooling(pooling).no_cache()).unwrap())
    })
}

/// A component of this core module that exports its function `f`.
fn component(module: &str) -> String {
    format!(
        r#"(component
            (core module $m {module})
            (core instance $i (instantiate $m))
            (func (export "f") (param "n" u32) (result u32) (canon lift (core func $i "f"))))"#
    )
}

async fn load(engine: &WasmEngine, module: &str, more: Value) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, wat::parse_str(component(module)).unwrap()).unwrap();
    try_load(engine, &path, more).await.unwrap()
}

async fn call(loaded: &Loaded, call: Call) -> Result<Payload, PluginError> {
    let result = tokio::time::timeout(STOPPED, loaded.plugin.execute(call.method("f"))).await;
    result.expect("it is not stopped")
}

/// Makes a list of this many nodes, each with a number and 64 more bytes; returns the sum.
const LIST: &str = r#"
    (rec (type $node (struct (field $n i32) (field $more (ref $bytes)) (field $next (ref null $node))))
         (type $bytes (array (mut i8))))
    (func (export "f") (param $count i32) (result i32)
        (local $n i32) (local $sum i32) (local $list (ref null $node))
        (loop $again
            (local.set $list (struct.new $node
                (local.get $n) (array.new_default $bytes (i32.const 64)) (local.get $list)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.ne (local.get $n) (local.get $count))))
        (loop $again
            (local.set $sum (i32.add (local.get $sum) (struct.get $node $n (local.get $list))))
            (local.set $list (struct.get $node $next (local.get $list)))
            (br_if $again (i32.eqz (ref.is_null (local.get $list)))))
        (local.get $sum))"#;

#[tokio::test]
async fn structures_that_are_collected() {
    for engine in engines() {
        let loaded = load(engine, LIST, json!({"limits": {"memory_mb": 32}})).await;
        for _ in 0..20 {
            // All of them together would not fit.
            assert_eq!(call(&loaded, Call::new().arg(20_000)).await.unwrap().json, json!(199_990_000));
        }
        let stats = loaded.plugin.stats().await.unwrap();
        assert_eq!(stats.restarts, 0);
        assert!(stats.memory_bytes() > 1 << 20 && stats.memory_bytes() <= 32 << 20, "{}", stats.memory_bytes());
    }
}

#[tokio::test]
async fn a_heap_that_grows_for_ever_meets_the_limit_of_memory() {
    for engine in engines() {
        let loaded = load(engine, LIST, json!({"limits": {"memory_mb": 64}})).await;
        #[cfg(target_os = "linux")]
        let before = common::peak();
        let error = call(&loaded, Call::new().arg(0)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
        says(&error, &["limits.memory_mb", "64 MiB"]);
        // The other tests of this file use some of it meanwhile.
        #[cfg(target_os = "linux")]
        assert!(common::peak() - before < 256, "{} MiB", common::peak() - before);
        // The next call gets a new instance.
        assert_eq!(call(&loaded, Call::new().arg(3)).await.unwrap().json, json!(3));
    }
}

#[tokio::test]
async fn one_array_meets_the_limit_of_memory_wherever_it_is_made() {
    let array = "(type $bytes (array (mut i8)))";
    let in_code = format!(
        r#"{array} (func (export "f") (param i32) (result i32)
            (array.len (array.new_default $bytes (local.get 0))))"#
    );
    let at_start = format!(
        r#"{array} (global (ref $bytes) (array.new_default $bytes (i32.const 0x7fffff00)))
            (func (export "f") (param i32) (result i32) (local.get 0))"#
    );
    for engine in engines() {
        for module in [&in_code, &at_start] {
            let loaded = load(engine, module, json!({"limits": {"memory_mb": 32}})).await;
            for length in [0x7fff_ff00_u32, 64 << 20] {
                let error = call(&loaded, Call::new().arg(length)).await.unwrap_err();
                assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
                says(&error, &["limits.memory_mb", "32 MiB"]);
            }
        }
        // Longer than any array may be: not a limit of the host, but the plugin's own fault.
        let loaded = load(engine, &in_code, json!({"limits": {"memory_mb": 4096}})).await;
        let error = call(&loaded, Call::new().arg(u32::MAX)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Crashed, "{error}");
        says(&error, &["allocation size too large"]);
    }
}

/// Its garbage is collected continuously.
#[tokio::test]
async fn garbage_without_end_meets_the_deadline() {
    let module = r#"
        (type $bytes (array (mut i8)))
        (func (export "f") (param i32) (result i32)
            (loop $again (drop (array.new_default $bytes (i32.const 100000))) (br $again))
            unreachable)"#;
    for engine in engines() {
        let loaded = load(engine, module, json!({"limits": {"memory_mb": 32}})).await;
        let error = call(&loaded, Call::new().arg(0).timeout(Duration::from_millis(200))).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
        assert!(loaded.plugin.stats().await.unwrap().memory_bytes() <= 32 << 20);
    }
}

#[tokio::test]
async fn throwing_and_catching_without_end_meets_the_deadline_and_the_cancel() {
    let module = r#"
        (tag $thrown (param i64))
        (func $throw (throw $thrown (i64.const 1)))
        (func (export "f") (param i32) (result i32)
            (loop $again
                (block $caught (result i64)
                    (try_table (catch $thrown $caught) (call $throw))
                    unreachable)
                (drop)
                (br $again))
            unreachable)"#;
    for engine in engines() {
        let loaded = load(engine, module, json!({"limits": {"memory_mb": 32}})).await;
        let error = call(&loaded, Call::new().arg(0).timeout(Duration::from_millis(200))).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
        let cancelled = Call::new().arg(0);
        let handle = cancelled.handle().clone();
        let (result, ()) = tokio::join!(call(&loaded, cancelled), async {
            // The guest is running by now: the other branch was polled first.
            tokio::task::yield_now().await;
            handle.cancel();
        });
        assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled);
    }
}

#[tokio::test]
async fn an_exception_is_caught_by_the_component_or_crashes_it() {
    let module = r#"
        (tag $thrown (param i32))
        (func $throw (param i32) (throw $thrown (i32.add (local.get 0) (i32.const 1))))
        (func (export "f") (param $n i32) (result i32)
            (if (i32.eqz (local.get $n)) (then (call $throw (i32.const 0))))
            (block $caught (result i32)
                (try_table (catch $thrown $caught) (call $throw (local.get $n)))
                unreachable))"#;
    for engine in engines() {
        let loaded = load(engine, module, json!({})).await;
        assert_eq!(call(&loaded, Call::new().arg(6)).await.unwrap().json, json!(7));
        let error = call(&loaded, Call::new().arg(0)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Crashed);
        says(&error, &["threw an exception that none of its functions caught"]);
        assert_eq!(call(&loaded, Call::new().arg(6)).await.unwrap().json, json!(7));
        assert_eq!(loaded.plugin.stats().await.unwrap().restarts, 1);
    }
}

/// While it starts, and deep inside its own functions.
#[tokio::test]
async fn an_exception_crashes_a_component_wherever_it_is_thrown() {
    let at_start = r#"
        (tag $thrown)
        (func $start (throw $thrown))
        (start $start)
        (func (export "f") (param i32) (result i32) (local.get 0))"#;
    let deep = r#"
        (tag $thrown)
        (func $down (export "f") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (throw $thrown)))
            (i32.add (call $down (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))"#;
    for engine in engines() {
        for module in [at_start, deep] {
            let loaded = load(engine, module, json!({})).await;
            let error = call(&loaded, Call::new().arg(4_000)).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::Crashed);
            says(&error, &["threw an exception that none of its functions caught"]);
        }
    }
}

/// Values on the stack are roots of the collector, which keeps a list of them in the host's memory.
#[tokio::test]
async fn a_deep_stack_of_references_is_collected_within_the_limits() {
    let module = r#"
        (type $box (struct (field i32)))
        (func $down (export "f") (param $n i32) (result i32) (local $a (ref $box)) (local $b (ref $box))
            (local.set $a (struct.new $box (local.get $n)))
            (local.set $b (struct.new $box (i32.const 1)))
            (if (i32.eqz (local.get $n)) (then (return (i32.const 0))))
            (i32.add (call $down (i32.sub (local.get $n) (i32.const 1)))
                (i32.mul (struct.get $box 0 (local.get $b))
                    (i32.div_u (struct.get $box 0 (local.get $a)) (local.get $n)))))"#;
    for engine in engines() {
        let loaded = load(engine, module, json!({"limits": {"memory_mb": 16}})).await;
        for _ in 0..50 {
            assert_eq!(call(&loaded, Call::new().arg(3_000)).await.unwrap().json, json!(3_000));
        }
        let error = call(&loaded, Call::new().arg(1_000_000)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
        says(&error, &["limits.stack_kb"]);
    }
}

/// Each instance of an engine may have a heap, in addition to its memories.
#[tokio::test]
async fn every_instance_has_a_heap() {
    let module = format!("(memory 1) (memory 1) (memory 1) {LIST}");
    let engine = WasmEngine::new(WasmConfig::new().instances(4).no_cache()).unwrap();
    let mut plugins = Vec::new();
    for _ in 0..4 {
        plugins.push(load(&engine, &module, json!({})).await);
    }
    for plugin in &plugins {
        assert_eq!(call(plugin, Call::new().arg(4)).await.unwrap().json, json!(6));
    }
    assert_eq!(engine.instances(), 4);
}
