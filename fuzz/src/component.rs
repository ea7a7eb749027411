//! Components: generated ones, and real ones with a few changed bytes.
//!
//! Each is loaded like a plugin, with a plugin's limits. If it loads, its methods are called, so that code which no compiler made runs in
//! the sandbox and passes its values to the host.

use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{Call, ErrorCode, HostPolicy, Manifest, PluginInterface};
use bivium_records::PluginLog;
use bivium_wasm::{WasmConfig, WasmEngine};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wasm_smith::{Component, Config, Module};

/// How many methods of one component are called.
const CALLS: usize = 8;

/// Loads a component: `data` itself if it begins like WebAssembly, or else a component that is generated from it.
pub fn run(data: &[u8]) {
    let component = if data.starts_with(b"\0asm") { Ok(data.to_vec()) } else { generated(data) };
    // Too few bytes for a component.
    let Ok(component) = component else { return };
    place().runtime.block_on(serve(&component));
}

/// What all runs use.
struct Place {
    runtime: Runtime,
    engine: WasmEngine,
    exchange: Exchange,
    directory: tempfile::TempDir,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("there is room");
        let exchange = Exchange::builder().root(directory.path()).open().expect("an exchange can be made");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let engine = WasmEngine::new(WasmConfig::new().pooling(false).no_cache());
        Place {
            runtime: runtime.expect("threads can be started"),
            engine: engine.expect("there is an engine for this machine"),
            exchange,
            directory,
        }
    })
}

async fn serve(component: &[u8]) {
    let Place { engine, exchange, directory, .. } = place();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, component).expect("there is room");
    let manifest = json!({
        "name": "c", "version": "1.0.0", "runtime": "wasm", "component": path,
        "limits": {"memory_mb": 16, "call_ms": 50, "payload_mb": 1, "blob_mb": 1},
    });
    let manifest = Manifest::parse(&manifest.to_string(), &path.with_extension("json")).expect("it is a manifest");
    let component = manifest.wasm().expect("it is a component's");
    let context = PluginContext::new(PluginLog::new("c"), HostPolicy::default().grant(&manifest));
    let plugin = match bivium_wasm::load(engine, &manifest, component, exchange, context).await {
        Ok(plugin) => plugin,
        Err(error) => {
            assert_ne!(error.code(), ErrorCode::Internal, "{error}");
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            return;
        }
    };
    // The component may fail, but the host must not.
    let check = |error: bivium_interface::PluginError| {
        assert_ne!(error.code(), ErrorCode::Internal, "{error}");
        assert_ne!(error.code(), ErrorCode::Protocol, "{error}");
    };
    let methods = match plugin.methods().await {
        Ok(methods) => methods,
        Err(error) => return check(error),
    };
    for method in methods.into_iter().take(CALLS) {
        let mut call = Call::new().method(method.name).timeout(Duration::from_millis(100));
        let parameters = method.parameters.as_ref().and_then(|schema| schema["properties"].as_object().cloned());
        for (name, schema) in parameters.into_iter().flatten() {
            call = call.named(name, sample(&schema));
        }
        plugin.execute(call).await.map_or_else(check, drop);
    }
    plugin.cleanup().await.map_or_else(check, drop);
}

/// A value that fits a schema made by the host.
fn sample(schema: &Value) -> Value {
    let first = |forms: &Value| forms.get(0).map_or(Value::Null, sample);
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => true.into(),
        Some("integer" | "number") => 1.into(),
        Some("string") => "YWJj".get(..if schema["maxLength"] == 1 { 1 } else { 4 }).into(),
        Some("object") => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            properties.into_iter().map(|(name, schema)| (name, sample(&schema))).collect()
        }
        Some("array") => {
            let items = schema["prefixItems"].as_array().cloned().unwrap_or_default();
            items.iter().map(sample).collect()
        }
        _ => ["anyOf", "oneOf"].iter().find_map(|of| schema.get(*of)).map_or_else(|| schema["enum"][0].clone(), first),
    }
}

/// For one half of the inputs any component, which is usually refused. For the other half a component with a fixed type and any code that
/// ends.
fn generated(data: &[u8]) -> Result<Vec<u8>> {
    let mut u = Unstructured::new(data);
    let mut config = Config {
        max_memory32_bytes: 1 << 20,
        max_modules: 3,
        max_components: 2,
        // Features that the engine does not enable would be refused before anything is tested.
        compact_imports_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    if u.arbitrary()? {
        return Ok(Component::new(config, &mut u)?.to_bytes());
    }
    config.disallow_traps = true;
    config.max_imports = 0;
    config.min_memories = 1;
    config.exports = Some(wat::parse_str(CORE).expect("it is a module"));
    let mut module = Module::new(config, &mut u)?;
    // A module without space for the counter runs until its time limit.
    let _ = module.ensure_termination(1000);
    Ok(framed(&module.to_bytes()))
}

/// What the core module of a component must export.
const CORE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "text") (param i32 i32) (result i32) unreachable)
    (func (export "rows") (param i32 i32 i32) (result i32) unreachable)
    (func (export "maybe") (param i32 i64) (result i32) unreachable)
    (func (export "bytes") (result i32) unreachable)
    (func (export "number") (param f32 f64) (result f64) unreachable))"#;

/// A component around a core module.
fn framed(module: &[u8]) -> Vec<u8> {
    let options = r#"(memory (core memory 0 "memory")) (realloc (core func 0 "realloc"))"#;
    let function = |name: &str, ty: &str| {
        format!(r#"(func (export "{name}") {ty} (canon lift (core func 0 "{name}") {options}))"#)
    };
    let frame = format!(
        "(component (core module) (core instance (instantiate 0)) {} {} {} {} {})",
        function("text", r#"(param "it" string) (result (result string (error string)))"#),
        function(
            "rows",
            r#"(param "rows" (list (tuple u8 string))) (param "c" char) (result (list (tuple u64 (option string))))"#
        ),
        function("maybe", r#"(param "it" (option u64)) (result (tuple (option (option char)) bool f32 string))"#),
        function("bytes", "(result (list (list u8)))"),
        function("number", r#"(param "a" f32) (param "b" f64) (result f64)"#),
    );
    let frame = wat::parse_str(frame).expect("it is a component");
    // The section of the empty module is the first, and the module replaces it. The text format cannot express that.
    // (Nothing above has a name, because the name would be in the module too.)
    let empty = b"\x01\x08\0asm\x01\0\0\0";
    let header = b"\0asm\x0d\0\x01\0";
    let rest = frame.strip_prefix(header).and_then(|frame| frame.strip_prefix(empty)).expect("the module comes first");
    [&header[..], &[1], &leb128(module.len()), module, rest].concat()
}

/// A length in the form of the binary format.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
