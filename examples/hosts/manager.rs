//! The manager: basic use from synchronous code, then async with progress, cancel and a stream.
//!
//! `cargo run --package bivium --example manager`, after `cargo xtask guests`, which puts the example components in place

use std::path::Path;
use std::time::Duration;

use bivium::{Call, ErrorCode, PluginError, PluginManager};
use futures_util::StreamExt;
use serde_json::json;

fn main() -> Result<(), PluginError> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugins");
    basic(&plugins)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| PluginError::internal(error.to_string()))?;
    runtime.block_on(concurrent(&plugins))
}

fn basic(plugins: &Path) -> Result<(), PluginError> {
    let builder = PluginManager::builder().manifests(plugins);
    let manager = bivium::blocking::PluginManager::build(builder)?;
    for info in manager.manager().discover().found.values() {
        println!("found {} {}: {}", info.name, info.version, info.description);
    }
    manager.load("wordcount")?;
    let counted = manager.execute("wordcount", Call::new().named("text", "a b a"))?;
    println!("basic: {}", counted.json);
    manager.update_config("wordcount", json!({ "top": 1 }))?;
    println!("one word only: {}", manager.execute("wordcount", Call::new().named("text", "a b a"))?.json);
    println!("unloaded: {}", manager.unload("wordcount")?);
    Ok(())
    // Dropping the manager unloads all plugins.
}

async fn concurrent(plugins: &Path) -> Result<(), PluginError> {
    let manager = PluginManager::builder().manifests(plugins).build()?;
    let (worker, component) = tokio::join!(manager.load("wordcount"), manager.load("redact"));
    worker?;
    component?;

    // Both runtimes at the same time, with the same code.
    let text = "call 555 123 4567 now";
    let both = ["wordcount", "redact"].map(|name| manager.execute(name, Call::new().named("text", text)));
    for result in futures_util::future::join_all(both).await {
        println!("async: {}", result?.json);
    }

    // A call has its own deadline, cancellation and progress.
    let call = Call::new().named("text", text).timeout(Duration::from_secs(5));
    call.handle().cancel();
    match manager.execute("redact", call).await {
        Err(error) if error.code() == ErrorCode::Cancelled => println!("cancelled: {error}"),
        other => println!("was faster: {other:?}"),
    }

    let mut lines = manager.execute_stream("wordcount", Call::new().named("text", "one\ntwo two")).await?;
    while let Some(line) = lines.next().await {
        println!("streaming: {}", line?.json);
    }
    for report in manager.unload_all().await {
        report.result?;
    }
    Ok(())
}
