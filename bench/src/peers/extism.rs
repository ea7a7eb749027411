//! Extism, with its Rust SDK.

use std::path::{Path, PathBuf};

use anyhow::Result;
use extism::convert::Json;
use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use serde_json::Value;

/// The name in the results.
pub const NAME: &str = "Extism";

fn builder(module: &Path) -> Result<PluginBuilder<'static>> {
    Ok(PluginBuilder::new(Manifest::new([Wasm::data(std::fs::read(module)?)])).with_wasi(false))
}

/// Compiles a plug-in once for any number of instances.
pub fn compile(module: &Path) -> Result<CompiledPlugin> {
    builder(module)?.with_cache_disabled().compile()
}

/// The configuration of a cache in this directory.
pub fn cache_in(directory: &Path) -> Result<PathBuf> {
    let file = directory.join("cache.toml");
    std::fs::write(&file, format!("[cache]\ndirectory = {:?}\n", directory.join("cache")))?;
    Ok(file)
}

/// Loads a plug-in with Extism's cache, as this file configures it.
pub fn load(module: &Path, cache: &Path) -> Result<Plugin> {
    builder(module)?.with_cache_config(cache).build()
}

/// Calls with the arguments as a JSON document and returns the result as a value.
pub fn execute(plugin: &mut Plugin, arguments: &Value) -> Result<Value> {
    let Json(output) = plugin.call::<Json<&Value>, Json<Value>>("execute", Json(arguments))?;
    Ok(output)
}
