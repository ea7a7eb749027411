//! One plugin without a manager: first blocking, with cleanup at the end of a scope, then async with a stream.
//!
//! `cargo run --package bivium --example plugin`

use std::path::Path;

use bivium::{Call, PluginError};
use futures_util::StreamExt;
use serde_json::json;

const TEXT: &str = "the quick fox\nthe lazy dog\nthe end";

fn main() -> Result<(), PluginError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugins/wordcount/wordcount.json");
    scope(&manifest)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| PluginError::internal(error.to_string()))?;
    runtime.block_on(streaming(&manifest))
}

/// The plugin lives until the end of the scope. Then its worker ends, even after an early return with an error.
fn scope(manifest: &Path) -> Result<(), PluginError> {
    let plugin = bivium::blocking::Plugin::open(manifest, json!({ "top": 1 }))?;
    println!("{} {}", plugin.plugin().name(), plugin.plugin().version());
    let counted = plugin.execute(Call::new().named("text", TEXT))?;
    println!("blocking: {}", counted.json);
    for line in plugin.stream(Call::new().named("text", TEXT))? {
        println!("blocking, streaming: {}", line?.json);
    }
    Ok(())
}

async fn streaming(manifest: &Path) -> Result<(), PluginError> {
    let plugin = bivium::open(manifest, json!({ "top": 2 })).await?;
    let mut lines = plugin.execute_stream(Call::new().named("text", TEXT)).await?;
    while let Some(line) = lines.next().await {
        println!("async, streaming: {}", line?.json);
    }
    println!("{} calls", plugin.stats().await?.calls);
    plugin.cleanup().await
}
