//! What plugins of cjm-plugin-system and cjm-substrate find in their environment: the directories and names that
//! their own host would give them, and what they declare for themselves (`worker_env`).
//!
//! Their data lies below the host's data directory, in `cjm`, unless `CJM_DATA_DIR` and `CJM_MODELS_DIR` of the
//! host's own environment name the places that an installation of theirs has used so far.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use bivium_instances::PluginContext;
use bivium_interface::manifest::{Ancestor, EnvVarSpec};
use bivium_interface::{LogLevel, LogSource, PluginError, Result};

use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;
use crate::wire::{AdapterSettings, AncestorSettings};

/// Handed on from the host where it has them.
const NAMES: &[&str] = &["CJM_LOG_LEVEL", "CJM_ACTOR", "CJM_WORKSPACE"];

type Variables = BTreeMap<OsString, OsString>;

/// The host's data directory in the absence of another.
pub(crate) fn default_data_dir() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "bivium").map(|dirs| dirs.data_dir().to_owned())
}

/// What such a plugin is given besides variables.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Its data directory: its own, whatever it is held to.
    pub(crate) data: Option<PathBuf>,
    /// Secrets by the names of their variables.
    pub(crate) secrets: BTreeMap<String, String>,
}

/// Completes the variables of a worker, and makes the plugin's data directory. What is in `variables` already stays.
/// `host` is the host's environment.
///
/// # Errors
/// `internal` if there is no data directory or it cannot be made.
pub(crate) fn complete(
    variables: &mut Variables,
    manifest: &PythonManifest,
    ancestor: &Ancestor,
    places: &WorkerPlaces,
    host: &Variables,
    context: &PluginContext,
) -> Result<Given> {
    // The host's choice alone: it makes the directory, and lets a confined plugin write there.
    let chosen = |name: &str, given: Option<&PathBuf>| -> Option<PathBuf> {
        let named = host.get(OsStr::new(name)).filter(|value| !value.is_empty());
        given.cloned().or_else(|| named.map(PathBuf::from))
    };
    let root = chosen("CJM_DATA_DIR", places.ancestor_data.as_ref());
    let root = root.or_else(|| Some(places.data.as_ref()?.join("cjm"))).ok_or_else(|| {
        PluginError::internal("this user has no home directory").with_help("name a data directory for its data")
    })?;
    let root = std::path::absolute(&root).unwrap_or(root);
    let models = chosen("CJM_MODELS_DIR", places.ancestor_models.as_ref()).unwrap_or_else(|| root.join("models"));
    let all = root.join("data");
    let own = all.join(&manifest.name);
    std::fs::create_dir_all(&own).map_err(|error| {
        PluginError::internal(format!("cannot make the plugin's data directory {}: {error}", own.display()))
            .with_help("check the permissions above it, or name another place by CJM_DATA_DIR")
    })?;

    let mut give = |name: &str, value: OsString| {
        variables.entry(name.into()).or_insert(value);
    };
    give("CJM_DATA_DIR", root.into());
    give("CJM_MODELS_DIR", models.into());
    for (name, path) in [("CJM_PLUGIN_DATA_DIR", &all), ("PLUGIN_DATA_DIR", &own)] {
        give(name, path.into());
        give(&name.replace("PLUGIN", "CAPABILITY"), path.into());
    }
    give("CJM_WORKER_SESSION_ID", session()?.into());
    for name in NAMES {
        if let Some(value) = host.get(OsStr::new(name)) {
            give(name, value.clone());
        }
    }
    let mut given = Given { data: Some(own), secrets: BTreeMap::new() };
    for wanted in &ancestor.worker_env {
        if variables.contains_key(OsStr::new(&wanted.name)) {
            continue;
        }
        let found = if wanted.secret {
            secret(wanted, context).map(|secret| given.secrets.extend(secret))
        } else {
            let name = &manifest.name;
            value(wanted, |reference| known(reference, name, variables))
                .map(|value| variables.extend(value.map(|value| (wanted.name.as_str().into(), value))))
        };
        if let Err(why) = found {
            context.log.push(LogLevel::Warn, LogSource::Host, 0, None, &why);
        }
    }
    Ok(given)
}

/// What the worker is told of the plugin's adapters.
pub(crate) fn settings(ancestor: &Ancestor) -> AncestorSettings<'_> {
    let adapters = ancestor.adapters.iter().map(|adapter| AdapterSettings {
        task: &adapter.task_name,
        module: &adapter.module,
        class: &adapter.class,
    });
    AncestorSettings { adapters: adapters.collect() }
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

/// The secret that a variable holds, if the host has it and lets the plugin have it.
fn secret(wanted: &EnvVarSpec, context: &PluginContext) -> Result<Option<(String, String)>, String> {
    let name = &wanted.name;
    let permissions = &context.granted.permissions;
    let is_named = || permissions.env.contains(name) || permissions.secrets.iter().any(|secret| secret.name == *name);
    if context.granted.confined && !is_named() {
        let why = "its permissions do not name it";
        context.audit.denied(0, None, "ancestor.worker_env", name, why).map_err(|error| error.to_string())?;
        return Err(format!("the secret {name} is kept from it: name it in permissions.env"));
    }
    match context.secrets.get(name) {
        Some(secret) => {
            context.audit.granted(0, None, "ancestor.worker_env", name).map_err(|error| error.to_string())?;
            Ok(Some((name.clone(), secret.to_owned())))
        }
        None if wanted.required => {
            Err(format!("it wants the secret {name}, which this host does not have: give it as BIVIUM_SECRET_{name}"))
        }
        None => Ok(None),
    }
}

/// The value of a declared variable that nothing else has given; none for one that may be absent.
fn value(wanted: &EnvVarSpec, known: impl Fn(&str) -> Option<OsString>) -> Result<Option<OsString>, String> {
    let name = &wanted.name;
    let Some(default) = &wanted.default else {
        return match wanted.required {
            true => Err(format!("it wants the variable {name}: set it in env_vars of its manifest")),
            false => Ok(None),
        };
    };
    let value = expand(default, known).map_err(|why| format!("the variable {name} is left out: {why}"))?;
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

/// A random UUID.
fn session() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| PluginError::internal(format!("no random numbers: {error}")))?;
    let number = u128::from_be_bytes(bytes) & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    Ok(format!("{a}-{b}-{c}-{d}-{e}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bivium_interface::HostPolicy;
    use bivium_records::{PluginLog, Secrets};
    use serde_json::{Value, json};

    use super::*;

    fn completed(dir: &Path, more: Value, secrets: Secrets, host: &[(&str, &str)]) -> (Variables, Given, PluginLog) {
        let mut manifest = json!({"name": "whisper", "version": "1", "module": "m", "class": "C", "conda_env": "w",
            "env_vars": {"OWN": "env_vars"}});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let manifest = PythonManifest::parse(&manifest.to_string(), &dir.join("p.json")).unwrap();
        let mut context = PluginContext::new(PluginLog::new("whisper"), HostPolicy::default().grant(&manifest));
        context.secrets = secrets;
        let mut variables: Variables = manifest.python.env_vars.iter().map(|(n, v)| (n.into(), v.into())).collect();
        let host = host.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let ancestor = manifest.python.ancestor.as_ref().unwrap();
        let places = WorkerPlaces { data: Some(dir.to_owned()), ..WorkerPlaces::default() };
        let given = complete(&mut variables, &manifest, ancestor, &places, &host, &context).unwrap();
        (variables, given, context.log)
    }

    fn warnings(log: &PluginLog) -> Vec<String> {
        log.tail(100).into_iter().map(|record| record.message).collect()
    }

    #[test]
    fn its_directories_lie_in_the_hosts_data_directory_unless_somebody_names_others() {
        let dir = tempfile::tempdir().unwrap();
        let host = [("CJM_LOG_LEVEL", "DEBUG")];
        let (variables, given, _) = completed(dir.path(), json!({}), Secrets::default(), &host);
        let at = |name: &str| Path::new(&variables[OsStr::new(name)]).strip_prefix(dir.path()).unwrap().to_owned();
        assert_eq!(at("CJM_DATA_DIR"), Path::new("cjm"));
        assert_eq!(at("CJM_MODELS_DIR"), Path::new("cjm/models"));
        for name in ["CJM_PLUGIN_DATA_DIR", "CJM_CAPABILITY_DATA_DIR"] {
            assert_eq!(at(name), Path::new("cjm/data"));
        }
        for name in ["PLUGIN_DATA_DIR", "CAPABILITY_DATA_DIR"] {
            assert_eq!(at(name), Path::new("cjm/data/whisper"));
        }
        assert_eq!(given.data, Some(dir.path().join("cjm/data/whisper")));
        assert!(given.data.unwrap().is_dir());
        assert_eq!(variables[OsStr::new("CJM_LOG_LEVEL")], "DEBUG");
        let session = variables[OsStr::new("CJM_WORKER_SESSION_ID")].to_str().unwrap().to_owned();
        let parts: Vec<&str> = session.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{session}");

        let theirs = dir.path().join("theirs");
        let host = [("CJM_DATA_DIR", theirs.to_str().unwrap()), ("CJM_MODELS_DIR", "/big/models")];
        let (variables, ..) = completed(dir.path(), json!({}), Secrets::default(), &host);
        assert_eq!(variables[OsStr::new("PLUGIN_DATA_DIR")], theirs.join("data/whisper"));
        assert_eq!(variables[OsStr::new("CJM_MODELS_DIR")], "/big/models");

        // A manifest says what its plugin is told, never where the host makes directories.
        let more =
            json!({"env_vars": {"PLUGIN_DATA_DIR": dir.path().join("victim"), "CJM_DATA_DIR": dir.path().join("x")}});
        let (variables, given, _) = completed(dir.path(), more, Secrets::default(), &[]);
        assert_eq!(variables[OsStr::new("PLUGIN_DATA_DIR")], dir.path().join("victim"));
        assert_eq!(given.data, Some(dir.path().join("cjm/data/whisper")));
        assert!(!dir.path().join("victim").exists() && !dir.path().join("x").exists());
    }

    #[test]
    fn what_it_declares_is_filled_in_and_what_is_given_stays() {
        let dir = tempfile::tempdir().unwrap();
        let variable = |name: &str, default: &str| json!({"name": name, "default": default});
        let declared = json!({"worker_env": [
            variable("HF_HOME", "${CJM_MODELS_DIR}/hf"), variable("NLTK_DATA", "$PLUGIN_DATA_DIR/$PLUGIN_NAME$$"),
            variable("CAP", "${CAPABILITY_NAME}"), variable("OWN", "default"), variable("WRONG", "${HOME}/x"),
            variable("CUT", "${PLUGIN_NAME"), {"name": "ABSENT"}, {"name": "NEEDED", "required": true},
            {"name": "ONE_OF", "default": "c", "options": ["a", "b"]},
            {"name": "KEY", "secret": true, "required": true}, {"name": "OTHER", "secret": true},
            {"name": "MISSING", "secret": true, "required": true},
        ]});
        let (variables, given, log) = completed(dir.path(), declared, Secrets::default().with("KEY", "s3cret"), &[]);
        let get = |name: &str| variables.get(OsStr::new(name)).map(|value| value.to_str().unwrap().to_owned());
        let below = |path: &str| Some(format!("{}/{path}", dir.path().display()));
        assert_eq!(get("HF_HOME"), below("cjm/models/hf"));
        assert_eq!(get("NLTK_DATA"), below("cjm/data/whisper/whisper$"));
        assert_eq!((get("CAP").as_deref(), get("OWN").as_deref()), (Some("whisper"), Some("env_vars")));
        // Not among the variables, which anybody may read in /proc.
        assert_eq!(given.secrets, BTreeMap::from([("KEY".to_owned(), "s3cret".to_owned())]));
        for name in ["KEY", "WRONG", "CUT", "ABSENT", "NEEDED", "ONE_OF", "OTHER", "MISSING"] {
            assert_eq!(get(name), None, "{name}");
        }
        let told = warnings(&log);
        for part in ["${HOME}, which there is not", "without an end", "variable NEEDED", "none of a, b", "MISSING"] {
            assert!(told.iter().any(|line| line.contains(part)), "{part}: {told:?}");
        }
        assert_eq!(told.len(), 5);
        assert!(!told.concat().contains("s3cret"));
    }

    #[test]
    fn a_confined_plugin_gets_the_secrets_that_its_permissions_name() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = || Secrets::default().with("A", "1").with("B", "2");
        let declared = json!({"permissions": {"env": ["A"]}, "worker_env": [
            {"name": "A", "secret": true}, {"name": "B", "secret": true}]});
        let (_, given, log) = completed(dir.path(), declared, secrets(), &[]);
        assert_eq!(given.secrets.into_keys().collect::<Vec<_>>(), ["A"]);
        assert!(warnings(&log).concat().contains("permissions.env"));
    }
}
