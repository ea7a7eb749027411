//! `bivium config`: the configuration that later runs start with.
//!
//! A plugin is started for it: only the plugin knows its schema where the manifest has none, and what it refuses
//! is better refused now than at the next call.

use bivium::PluginManager;

use crate::args::{ConfigSet, Global, Named};
use crate::exit::Failure;
use crate::host::Host;
use crate::output::Output;
use crate::settings::patch;

pub(super) async fn get(global: &Global, output: &Output, named: &Named) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, named)?;
    let config = host.scope_loaded(&name, None, async |manager: &PluginManager| manager.config(&name)).await?;
    output.value(&config)
}

pub(super) async fn set(global: &Global, output: &Output, args: ConfigSet) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, &args.named)?;
    let changes = patch(args.settings);
    // Loaded with the changes, so that a configuration that keeps the plugin from starting can be mended.
    let save = async |manager: &PluginManager| manager.save_config(&name, serde_json::json!({})).await;
    let config = host.scope_loaded(&name, changes, save).await?;
    output.hint(&format!("Saved the configuration of {name}:"));
    output.value(&config)
}

pub(super) async fn schema(global: &Global, output: &Output, named: &Named) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, named)?;
    // What the manifest says is the schema; nothing needs to start.
    if let Some(schema) = &host.manager.manifest(&name)?.config_schema {
        return output.value(schema);
    }
    let schema = host.scope_loaded(&name, None, async |manager: &PluginManager| manager.config_schema(&name)).await?;
    output.value(&schema)
}
