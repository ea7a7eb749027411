//! The limits of what a component may consist of: each error names its limit, whether instances come from pools or are made on
//! demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::sync::OnceLock;

use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{Call, CircuitState, ErrorCode, HostPolicy, PluginError, PluginInterface};
use bivium_records::PluginLog;
use bivium_wasm::{WasmConfig, WasmEngine};
use common::{manifest, says, try_load};
use serde_json::{Value, json};

fn engines() -> &'static [WasmEngine; 2] {
    static ENGINES: OnceLock<[WasmEngine; 2]> = OnceLock::new();
    ENGINES.get_or_init(|| {
        [true, false].map(|pooling| {
            let engine = WasmEngine::new(WasmConfig::new().instances(4).pooling(pooling).no_cache()).unwrap();
            assert_eq!(engine.is_pooling(), pooling);
            engine
        })
    })
}

/// A component with a function `f` that returns 7, and these further parts.
fn component(parts: &str) -> String {
    format!(
        r#"(component $outer {parts}
            (core module $main (func (export "f") (result i32) (i32.const 7)))
            (core instance $main (instantiate $main))
            (func (export "f") (result u32) (canon lift (core func $main "f"))))"#
    )
}

fn times(count: usize, part: &str) -> String {
    part.repeat(count)
}

/// A core module of these parts, instantiated this many times.
fn module(parts: &str, instances: usize) -> String {
    format!("(core module $m {parts}) {}", times(instances, "(core instance (instantiate $m))"))
}

struct File(tempfile::TempDir);

impl File {
    fn of(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("c.wasm"), wat::parse_str(text).unwrap()).unwrap();
        Self(directory)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("c.wasm")
    }
}

/// The result on an engine: the error of its load, or of its first call.
async fn outcome(engine: &WasmEngine, file: &File, more: Value) -> Result<Value, (&'static str, PluginError)> {
    let loaded = try_load(engine, &file.path(), more).await.map_err(|error| ("load", error))?;
    let mut result = loaded.plugin.execute(Call::new().method("f")).await;
    // Repeated: exceeding a limit opens no circuit.
    for _ in 0..8 {
        if result.is_err() {
            result = loaded.plugin.execute(Call::new().method("f")).await;
        }
    }
    assert_eq!(loaded.plugin.stats().await.unwrap().circuit, CircuitState::Closed);
    result.map(|payload| payload.json).map_err(|error| ("call", error))
}

async fn is_refused(text: &str, more: Value, at: &str, code: ErrorCode, words: &[&str]) {
    let file = File::of(text);
    for engine in engines() {
        let (when, error) = outcome(engine, &file, more.clone()).await.expect_err(words[0]);
        assert_eq!((when, error.code()), (at, code), "pooling {}: {error}", engine.is_pooling());
        says(&error, words);
    }
}

async fn is_taken(text: &str, more: Value) {
    let file = File::of(text);
    for engine in engines() {
        let result = outcome(engine, &file, more.clone()).await;
        assert_eq!(result.map_err(|(_, error)| error).unwrap(), json!(7), "pooling {}", engine.is_pooling());
    }
}

const EXHAUSTED: ErrorCode = ErrorCode::ResourceExhausted;

#[tokio::test]
async fn memories() {
    let memories = |count| component(&module(&times(count, "(memory 1)"), 1));
    is_taken(&memories(8), json!({})).await;
    is_refused(&memories(9), json!({}), "load", EXHAUSTED, &["9 memories", "limit of 8", "limits.memories"]).await;
    let spread = component(&module("(memory 1)", 9));
    is_refused(&spread, json!({}), "load", EXHAUSTED, &["9 memories", "limits.memories"]).await;
    let own = json!({"limits": {"memories": 2}});
    is_refused(&memories(3), own, "load", EXHAUSTED, &["3 memories", "limit of 2", "limits.memories"]).await;
    // More than WebAssembly allows.
    is_refused(&memories(101), json!({}), "load", ErrorCode::InvalidManifest, &["memories", "100"]).await;
}

#[tokio::test]
async fn sizes_of_memories() {
    let memory = |limits: &str| component(&module(&format!("(memory {limits})"), 1));
    let small = json!({"limits": {"memory_mb": 16}});
    is_taken(&memory("16"), small.clone()).await;
    is_refused(&memory("1000"), small, "call", EXHAUSTED, &["63 MiB", "limit of 16 MiB", "limits.memory_mb"]).await;
    is_refused(&memory("i64 70000"), json!({}), "load", EXHAUSTED, &["4375 MiB", "limits.memory_mb"]).await;
    for (ty, number) in [("", "i32"), ("i64", "i64")] {
        // Nothing of it is touched.
        let grows = format!(
            r#"(component
                (core module $m
                    (memory {ty} 1)
                    (func (export "f") (result i32)
                        (loop (br_if 0 ({number}.ne (memory.grow ({number}.const 1000)) ({number}.const -1))))
                        unreachable))
                (core instance $i (instantiate $m))
                (func (export "f") (result u32) (canon lift (core func $i "f"))))"#
        );
        let most = json!({"limits": {"memory_mb": 4096}});
        is_refused(&grows, most, "call", EXHAUSTED, &["one memory may have", "4096 MiB"]).await;
    }
    let huge = memory("i64 0x1000000000000");
    is_refused(&huge, json!({}), "load", EXHAUSTED, &["limits.memory_mb"]).await;
}

#[tokio::test]
async fn tables() {
    let tables = |count| component(&module(&times(count, "(table 1 funcref)"), 1));
    is_taken(&tables(64), json!({})).await;
    is_refused(&tables(65), json!({}), "load", EXHAUSTED, &["65 tables", "limit of 64", "limits.tables"]).await;
    let spread = component(&module("(table 1 funcref) (table 1 funcref)", 33));
    is_refused(&spread, json!({}), "load", EXHAUSTED, &["66 tables", "limits.tables"]).await;
    is_refused(&tables(101), json!({}), "load", ErrorCode::InvalidManifest, &["tables", "100"]).await;
}

#[tokio::test]
async fn elements_of_tables() {
    let table = |elements: u64| component(&module(&format!("(table {elements} funcref)"), 1));
    is_taken(&table(60_000), json!({})).await;
    is_refused(&table(60_001), json!({}), "load", EXHAUSTED, &["60001", "60000", "limits.table_elements"]).await;
    is_refused(&table(4_000_000_000), json!({}), "load", EXHAUSTED, &["limits.table_elements"]).await;
    let own = json!({"limits": {"table_elements": 10}});
    is_refused(&table(11), own, "call", EXHAUSTED, &["11 elements", "limit of 10", "limits.table_elements"]).await;
    // They are memory of the host, and are counted as such.
    let many = component(&module(&times(60, "(table 60000 funcref)"), 1));
    let small = json!({"limits": {"memory_mb": 16}});
    is_refused(&many, small, "call", EXHAUSTED, &["limit of 16 MiB", "limits.memory_mb"]).await;
}

#[tokio::test]
async fn core_instances() {
    // One more is that of the function `f`.
    is_taken(&component(&module("", 99)), json!({})).await;
    let many = component(&module("", 100));
    is_refused(&many, json!({}), "call", EXHAUSTED, &["101 core instances", "limit of 100", "limits.core_instances"])
        .await;
    let own = json!({"limits": {"core_instances": 3}});
    let few = component(&module("", 3));
    is_refused(&few, own, "call", EXHAUSTED, &["4 core instances", "limit of 3", "limits.core_instances"]).await;
    // Thousands, each a component in another one.
    let nested = component(&format!(
        "(core module $m) \
         (component $one (alias outer $outer 0 (core module $m)) {}) \
         (component $all (alias outer $outer 0 (component $one)) {}) (instance (instantiate $all))",
        times(110, "(core instance (instantiate $m))"),
        times(110, "(instance (instantiate $one))"),
    ));
    let words = ["12101 core instances", "limit of 10000", "limits.core_instances"];
    is_refused(&nested, json!({}), "load", EXHAUSTED, &words).await;
}

#[tokio::test]
async fn globals_and_functions() {
    let globals = |instances| component(&module(&times(20_000, "(global i32 (i32.const 0))"), instances));
    is_taken(&globals(10), json!({})).await;
    is_refused(&globals(15), json!({}), "load", EXHAUSTED, &["globals", "limit of 4096 KiB"]).await;
    let referenced = (0..10_000).map(|n| format!(" {n}")).collect::<String>();
    let functions = format!("{} (elem declare func{referenced})", times(10_000, "(func)"));
    is_refused(&component(&module(&functions, 15)), json!({}), "load", EXHAUSTED, &["functions", "limit of 4096 KiB"])
        .await;
}

/// An instance keeps passive segments, each element in the host's memory, since its code may read them at any time.
#[tokio::test]
async fn passive_segments_and_tags() {
    let elements = |count: usize| format!("(func $f) (elem func{})", times(count, " $f"));
    is_taken(&component(&module(&elements(10_000), 10)), json!({})).await;
    is_refused(
        &component(&module(&elements(10_000), 30)),
        json!({}),
        "load",
        EXHAUSTED,
        &["segments", "limit of 4096 KiB"],
    )
    .await;
    let tags = component(&module(&times(10_000, "(tag)"), 15));
    is_refused(&tags, json!({}), "load", EXHAUSTED, &["tags", "limit of 4096 KiB"]).await;
}

#[tokio::test]
async fn handles_to_resources_of_its_own() {
    let text = |count: u32| {
        format!(
            r#"(component
                (type $r (resource (rep i32)))
                (core func $new (canon resource.new $r))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (func (export "f") (result i32) (local $n i32)
                        (loop $again
                            (drop (call $new (i32.const 1)))
                            (local.set $n (i32.add (local.get $n) (i32.const 1)))
                            (br_if $again (i32.lt_u (local.get $n) (i32.const {count}))))
                        (i32.const 7)))
                (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
                (func (export "f") (result u32) (canon lift (core func $i "f"))))"#
        )
    };
    is_taken(&text(100_000), json!({})).await;
    is_refused(&text(1_000_000), json!({}), "call", EXHAUSTED, &["resource handles", "limits.blobs"]).await;
}

#[tokio::test]
async fn the_stack() {
    let text = r#"(component
        (core module $m (func $f (export "f") (result i32) (i32.add (call $f) (i32.const 1))))
        (core instance $i (instantiate $m))
        (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;
    is_refused(text, json!({}), "call", EXHAUSTED, &["call stack exhausted", "512 KiB", "limits.stack_kb"]).await;
    // Also if it is reached before the first call.
    let start = component("(core module $m (func $f (call $f) (call $f)) (start $f)) (core instance (instantiate $m))");
    is_refused(&start, json!({}), "call", EXHAUSTED, &["call stack exhausted", "limits.stack_kb"]).await;
}

/// Recursion that is deep but finite.
#[tokio::test]
async fn a_policy_raises_the_stack() {
    let file = File::of(
        r#"(component
            (core module $m
                (func $f (param i32) (result i32)
                    (if (result i32) (local.get 0)
                        (then (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))
                        (else (i32.const 0))))
                (func (export "f") (param i32) (result i32) (call $f (local.get 0))))
            (core instance $i (instantiate $m))
            (func (export "f") (param "depth" u32) (result u32) (canon lift (core func $i "f"))))"#,
    );
    let policy: HostPolicy = serde_json::from_value(json!({"limits": {"stack_kb": 2048}})).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let exchange = Exchange::builder().root(directory.path()).open().unwrap();
    let depth = |depth| Call::new().method("f").arg(depth);
    for engine in engines() {
        for (stack_kb, deep, kib) in
            [(512, 4_000, 512), (1000, 12_000, 1024), (2048, 28_000, 2048), (9999, 28_000, 2048)]
        {
            let manifest = manifest("p", &file.path(), json!({"limits": {"stack_kb": stack_kb}}));
            let context = PluginContext::new(PluginLog::new("p"), policy.grant(&manifest));
            let plugin =
                bivium_wasm::load(engine, &manifest, manifest.wasm().unwrap(), &exchange, context).await.unwrap();
            assert_eq!(plugin.execute(depth(deep)).await.unwrap().json, json!(deep));
            let error = plugin.execute(depth(deep * 7)).await.unwrap_err();
            assert_eq!(error.code(), EXHAUSTED);
            says(&error, &[&format!("limit of {kib} KiB"), "limits.stack_kb"]);
            assert!(!error.failure().unwrap().traceback.is_empty());
        }
    }
}

#[tokio::test]
async fn functions_between_components_and_resources() {
    let resources = |count| component(&times(count, "(type (resource (rep i32)))"));
    is_taken(&resources(900), json!({})).await;
    is_refused(&resources(70_000), json!({}), "load", EXHAUSTED, &["resources", "limit of 4096 KiB"]).await;
    let lowered = |count| {
        component(&format!(
            r#"(import "bivium:plugin/host@0.1.0" (instance $host (export "is-cancelled" (func (result bool)))))
                (alias export $host "is-cancelled" (func $f)) {}"#,
            times(count, "(core func (canon lower (func $f)))"),
        ))
    };
    is_taken(&lowered(1000), json!({})).await;
}

#[tokio::test]
async fn instances_of_components() {
    let many = |depth: usize| {
        let mut text = "(component $c0)".to_owned();
        for level in 1..=depth {
            let inner = times(100, &format!("(instance (instantiate $c{}))", level - 1));
            text = format!("(component $c{level} {text} {inner})");
        }
        component(&format!("{text} (instance (instantiate $c{depth}))"))
    };
    is_taken(&many(1), json!({})).await;
    let words = ["1010101 component instances", "limit of 10000"];
    is_refused(&many(3), json!({}), "load", EXHAUSTED, &words).await;
}

/// Errors about WebAssembly's own limits say so.
#[tokio::test]
async fn what_no_engine_takes() {
    let in_module = |parts: &str| component(&module(parts, 1));
    let deep = (1..=200).map(|n| format!("(type $t{n} (list $t{}))", n - 1)).collect::<String>();
    let names = |count: usize| (0..count).map(|n| format!("\"n{n}\" ")).collect::<String>();
    for (text, words) in [
        (in_module(&format!("(func (param{}))", times(1001, " i32"))), ["params", ""]),
        (in_module(&format!("(func (local{}))", times(50_001, " i32"))), ["locals", ""]),
        (in_module(&format!("(memory 1) {}", times(100_001, "(data \"\")"))), ["data segments", "100000"]),
        (in_module(&times(100_001, "(elem declare func)")), ["element segments", "100000"]),
        (in_module(&format!("(func (export \"{}\"))", times(100_001, "x"))), ["string size", ""]),
        (component(&module("", 1001)), ["instances", "1000"]),
        (component(&times(1001, "(core module)")), ["modules", "1000"]),
        (component(&times(1001, "(component)")), ["components", "1000"]),
        (component(&format!("(type $t0 (list u8)) {deep}")), ["nesting", "too deep"]),
        (component(&format!("(type (flags {}))", names(1001))), ["flag", ""]),
    ] {
        let words = ["exceeds a limit of the WebAssembly engine", words[0], words[1], "docs/limits.md"];
        is_refused(&text, json!({}), "load", ErrorCode::InvalidManifest, &words).await;
    }
}

/// A host whose policy allows more, and whose pools are large enough.
#[tokio::test]
async fn a_policy_raises_them() {
    let file = File::of(&component(
        &format!("{} {}", module("(memory 1)", 20), times(90, "(core instance (instantiate $e))"))
            .replace("(core module $m", "(core module $e) (core module $m"),
    ));
    let policy: HostPolicy =
        serde_json::from_value(json!({"limits": {"memories": 30, "core_instances": 500}})).unwrap();
    let manifest = manifest("p", &file.path(), json!({"limits": {"memories": 30, "core_instances": 500}}));
    let directory = tempfile::tempdir().unwrap();
    let exchange = Exchange::builder().root(directory.path()).open().unwrap();
    let load = async |engine: &WasmEngine| {
        let context = PluginContext::new(PluginLog::new("p"), policy.grant(&manifest));
        bivium_wasm::load(engine, &manifest, manifest.wasm().unwrap(), &exchange, context).await
    };
    let roomy = WasmEngine::new(WasmConfig::new().instances(10).no_cache()).unwrap();
    let [pooling, on_demand] = engines();
    for engine in [&roomy, on_demand] {
        let plugin = load(engine).await.unwrap();
        assert_eq!(plugin.execute(Call::new().method("f")).await.unwrap().json, json!(7));
    }
    let error = load(pooling).await.err().expect("its pools have 12 memories");
    assert_eq!(error.code(), EXHAUSTED);
    says(&error, &["more memories", "12", "WasmConfig::instances"]);
}
