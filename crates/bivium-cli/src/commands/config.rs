//! `bivium config`: the configuration that later runs start with.
//!
//! The plugin is started for most of this. If the manifest has no schema, only the plugin knows it; and a configuration that the
//! plugin refuses is better refused now than at the next call.

use bivium::{PluginError, PluginManager};
use serde_json::{Value, json};

use crate::advice;
use crate::args::{ConfigSet, ConfigUnset, Global, Named};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::Output;
use crate::settings::{self, patch};

pub(super) async fn get(global: &Global, output: &Output, named: &Named) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, named)?;
    let config = host.scope_loaded(&name, None, async |manager: &PluginManager| manager.config(&name)).await?;
    output.value(&config)
}

pub(super) async fn set(global: &Global, output: &Output, args: ConfigSet) -> Result<(), Failure> {
    let (host, name) = Host::for_kept_plugin(global, output, &args.named)?;
    let texts = settings::texts(&args.settings);
    let keys: Vec<String> = args.settings.iter().filter(|one| !one.removes()).map(|one| one.key().to_owned()).collect();
    let saved = save(host, output, &name, patch(args.settings), &keys).await;
    saved.map_err(|failure| failure.map(|error| advice::on_texts(error, &texts)))
}

/// Changes the configuration and saves it. Fails if the plugin has no setting with one of the keys.
async fn save(host: Host, output: &Output, name: &str, changes: Option<Value>, keys: &[String]) -> Result<(), Failure> {
    // Loaded with the changes, so that a saved configuration with which the plugin does not start can be repaired.
    let save = async |manager: &PluginManager| {
        let unclear = check_keys(&manager.config_schema(name)?, keys).map_err(|error| error.with_plugin(name))?;
        Ok((unclear, manager.save_config(name, json!({})).await?))
    };
    let (unclear, config) = host.scope_loaded(name, changes, save).await?;
    if !unclear.is_empty() {
        let what = format!("its schema does not say whether there is a setting {}", unclear.join(" or "));
        output.warning(&PluginError::invalid_config(what).with_plugin(name));
    }
    output.hint(&format!("Saved the configuration of {name}:"));
    output.value(&config)
}

/// Refuses keys that the schema does not have. Returns keys that may be right or wrong, because the schema lists no properties. A
/// schema that allows other keys (`additionalProperties`, for example) allows them all.
fn check_keys<'a>(schema: &Value, keys: &'a [String]) -> Result<Vec<&'a str>, PluginError> {
    let allows_others = ["additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"];
    if allows_others.iter().any(|key| schema.get(*key).is_some()) {
        return Ok(Vec::new());
    }
    let Some(known) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(keys.iter().map(String::as_str).collect());
    };
    let Some(key) = keys.iter().find(|key| !known.contains_key(*key)) else { return Ok(Vec::new()) };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let help = match names.as_slice() {
        [] => "it has no settings".to_owned(),
        names => format!("its settings are {}", names.join(", ")),
    };
    Err(PluginError::invalid_config(format!("there is no setting {key:?}")).with_help(help))
}

pub(super) async fn unset(global: &Global, output: &Output, args: ConfigUnset) -> Result<(), Failure> {
    let (host, name) = Host::for_kept_plugin(global, output, &args.named)?;
    let saved = host.manager.saved_config(&name)?;
    let saved: Vec<&str> = saved.iter().filter_map(Value::as_object).flatten().map(|(key, _)| key.as_str()).collect();
    if let Some(key) = args.keys.iter().find(|key| !saved.contains(&key.as_str())) {
        let help = match saved.as_slice() {
            [] => "its configuration has no saved settings".to_owned(),
            saved => format!("its saved settings are {}", saved.join(", ")),
        };
        return Err(PluginError::not_found(format!("no setting {key:?} is saved"))
            .with_plugin(&name)
            .with_help(help)
            .into());
    }
    let keys = args.keys.into_iter().map(|key| (key, Value::Null)).collect();
    save(host, output, &name, Some(Value::Object(keys)), &[]).await
}

pub(super) fn reset(global: &Global, output: &Output, named: &Named) -> Result<(), Failure> {
    let (host, name) = Host::for_kept_plugin(global, output, named)?;
    let had_any = host.manager.reset_config(&name)?;
    if output.is_json() {
        return output.value(&json!({"name": name, "reset": had_any}));
    }
    output.line(&match had_any {
        true => format!("{name} has its defaults again"),
        false => format!("{name} had its defaults already"),
    })
}

pub(super) async fn schema(global: &Global, output: &Output, named: &Named) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, named)?;
    // The manifest has the schema, so the plugin need not start.
    if let Some(schema) = &host.manager.manifest(&name)?.config_schema {
        return output.value(schema);
    }
    let schema = host.scope_loaded(&name, None, async |manager: &PluginManager| manager.config_schema(&name)).await?;
    output.value(&schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_schema_does_not_have_is_refused_unless_it_allows_others() {
        let keys = ["mask".to_owned(), "maks".to_owned()];
        let closed = json!({"properties": {"mask": {}, "n": {}}});
        let error = check_keys(&closed, &keys).unwrap_err();
        assert_eq!(error.to_string(), "there is no setting \"maks\"; its settings are mask, n");
        assert!(check_keys(&closed, &keys[..1]).unwrap().is_empty());
        let open = json!({"properties": {"mask": {}}, "additionalProperties": true});
        assert!(check_keys(&open, &keys).unwrap().is_empty());
        assert_eq!(check_keys(&json!({}), &keys).unwrap(), ["mask", "maks"], "nobody knows");
        assert!(check_keys(&json!({"properties": {}}), &keys).is_err());
    }
}
