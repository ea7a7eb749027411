//! Extism, by its Rust SDK.

use std::path::Path;

use anyhow::Result;
use extism::convert::Json;
use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use serde_json::{Value, json};

/// The name in the results.
pub const NAME: &str = "Extism";

/// Compiles a plug-in, once for any number of instances.
pub fn compile(module: &Path) -> Result<CompiledPlugin> {
    PluginBuilder::new(Manifest::new([Wasm::file(module)])).with_wasi(false).with_cache_disabled().compile()
}

/// The arguments as a JSON document in, the result as a value out.
pub fn execute(plugin: &mut Plugin, text: &str) -> Result<Value> {
    let Json(output) = plugin.call::<Json<Value>, Json<Value>>("execute", Json(json!({"text": text})))?;
    Ok(output)
}
