//! Shared by the tests of this crate: an engine, an exchange, and the guests of `tests/guests`.

#![allow(dead_code, unreachable_pub, reason = "each test file includes it as a module and uses a part of it")]

pub mod speaker;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{HostPolicy, Manifest, PluginError, Result};
use bivium_records::PluginLog;
use bivium_wasm::{ComponentPlugin, WasmConfig, WasmEngine};
use serde_json::{Value, json};

pub struct Loaded {
    pub plugin: ComponentPlugin,
    pub log: PluginLog,
    pub exchange: Exchange,
    // Last, so that it outlives the exchange in it.
    pub _directory: tempfile::TempDir,
}

pub fn engine() -> &'static WasmEngine {
    static ENGINE: OnceLock<WasmEngine> = OnceLock::new();
    ENGINE.get_or_init(|| WasmEngine::new(WasmConfig::new().instances(32).no_cache()).unwrap())
}

/// The component of a guest in `tests/guests`.
pub fn guest(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/guests/target/guests/{name}.wasm"));
    assert!(path.is_file(), "{} is not built: run `cargo xtask guests`", path.display());
    path
}

/// A manifest with these further keys.
pub fn manifest(name: &str, component: &Path, more: Value) -> Manifest {
    let mut manifest = json!({"name": name, "version": "0.1.0", "runtime": "wasm", "component": component});
    let Value::Object(more) = more else { panic!("further keys are an object") };
    manifest.as_object_mut().unwrap().extend(more);
    Manifest::parse(&manifest.to_string(), &component.with_extension("json")).unwrap()
}

pub async fn try_load(engine: &WasmEngine, component: &Path, more: Value) -> Result<Loaded> {
    let directory = tempfile::tempdir().unwrap();
    let exchange = Exchange::builder().root(directory.path()).open().unwrap();
    let log = PluginLog::new("p");
    let manifest = manifest("p", component, more);
    let context = PluginContext::new(log.clone(), HostPolicy::default().grant(&manifest));
    let plugin = bivium_wasm::load(engine, &manifest, manifest.wasm().unwrap(), &exchange, context).await?;
    Ok(Loaded { plugin, log, exchange, _directory: directory })
}

pub async fn load(name: &str, more: Value) -> Loaded {
    try_load(engine(), &guest(name), more).await.unwrap()
}

/// Asserts that the message and the help of an error contain these words, and that it is one line.
#[track_caller]
pub fn says(error: &PluginError, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// The peak memory of this process, in MiB.
#[cfg(target_os = "linux")]
pub fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}
