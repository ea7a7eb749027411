//! The variables that a manifest declares for its worker (`worker_env`): their values and their secrets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use bivium_instances::PluginContext;

use crate::manifest::EnvVarSpec;

/// The permission in the audit log: the key by which the manifest asks for the secret.
const PERMISSION: &str = "ancestor.worker_env";

/// Environment variables.
pub type Variables = BTreeMap<OsString, OsString>;

/// The secret that a variable holds, if the host has it and lets the plugin have it.
pub(crate) fn secret(wanted: &EnvVarSpec, context: &PluginContext) -> Result<Option<(String, String)>, String> {
    let name = &wanted.name;
    let permissions = &context.granted.permissions;
    let is_named = || permissions.env.contains(name) || permissions.secrets.iter().any(|secret| secret.name == *name);
    if context.granted.confined && !is_named() {
        let why = "its permissions do not name it";
        context.audit.denied(0, None, PERMISSION, name, why).map_err(|error| error.to_string())?;
        return Err(format!("the secret {name} is kept from it: name it in permissions.env"));
    }
    match context.secrets.get(name) {
        Some(secret) => {
            context.audit.secret_granted(0, None, PERMISSION, name).map_err(|error| error.to_string())?;
            Ok(Some((name.clone(), secret.to_owned())))
        }
        None if wanted.required => {
            Err(format!("it wants the secret {name}, which this host does not have: give it as BIVIUM_SECRET_{name}"))
        }
        None => Ok(None),
    }
}

/// The value of a declared variable that nothing else has given; none for one that may be absent.
pub(crate) fn value(wanted: &EnvVarSpec, plugin: &str, variables: &Variables) -> Result<Option<OsString>, String> {
    let name = &wanted.name;
    let Some(default) = &wanted.default else {
        return match wanted.required {
            true => Err(format!("it wants the variable {name}: set it in env_vars of its manifest")),
            false => Ok(None),
        };
    };
    let value = expand(default, |reference| known(reference, plugin, variables))
        .map_err(|why| format!("the variable {name} is left out: {why}"))?;
    match &wanted.options {
        Some(options) if !options.iter().any(|option| value == option.as_str()) => {
            Err(format!("the variable {name} is left out: its default is none of {}", options.join(", ")))
        }
        _ => Ok(Some(value)),
    }
}

/// Fills in `$NAME` and `${NAME}`, once; `$$` is a dollar sign.
fn expand(template: &str, known: impl Fn(&str) -> Option<OsString>) -> Result<OsString, String> {
    let mut value = OsString::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        value.push(before);
        if let Some(after) = after.strip_prefix('$') {
            value.push("$");
            rest = after;
            continue;
        }
        let (name, after) = match after.strip_prefix('{') {
            Some(after) => after.split_once('}').ok_or_else(|| format!("{template:?} has a ${{ without an end"))?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        value.push(known(name).ok_or_else(|| format!("{template:?} refers to ${{{name}}}, which there is not"))?);
        rest = after;
    }
    value.push(rest);
    Ok(value)
}

/// What a default may refer to.
fn known(reference: &str, plugin: &str, variables: &Variables) -> Option<OsString> {
    const PATHS: &[&str] =
        &["CJM_MODELS_DIR", "CJM_PLUGIN_DATA_DIR", "CJM_CAPABILITY_DATA_DIR", "PLUGIN_DATA_DIR", "CAPABILITY_DATA_DIR"];
    match reference {
        "PLUGIN_NAME" | "CAPABILITY_NAME" => Some(plugin.into()),
        path if PATHS.contains(&path) => variables.get(OsStr::new(path)).cloned(),
        _ => None,
    }
}
