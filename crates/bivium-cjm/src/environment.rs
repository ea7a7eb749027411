//! [`prepare`]: what plugins of cjm-plugin-system and cjm-substrate find in their environment: the directories and names that their own
//! host would give them, and what they declare for themselves (`worker_env`).
//!
//! Their data lies in `cjm` in the host's data directory. `CJM_DATA_DIR` and `CJM_MODELS_DIR` in the host's environment name other
//! directories, for example those of an existing installation of cjm-plugin-system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use bivium_instances::PluginContext;
use bivium_interface::{LogLevel, LogSource, Manifest, PluginError, Result};
use serde_json::{Map, Value, json};

use crate::adapter::AdapterManifest;
use crate::declared::{self, Variables};
use crate::manifest::CjmManifest;

const LOG_LEVEL: &str = "CJM_LOG_LEVEL";

/// Handed on from the host where it has them.
const NAMES: &[&str] = &[LOG_LEVEL, "CJM_ACTOR", "CJM_WORKSPACE"];

/// The worker's setting, by its name in version 1 of the worker protocol.
const SETTING: &str = "ancestor";

/// The directories in which plugins of cjm-plugin-system keep their data.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The host's data directory. Their data lies in `cjm` in it, unless `data` is set.
    pub host_data: Option<PathBuf>,
    /// Another data directory, for example that of an existing installation of cjm-plugin-system.
    pub data: Option<PathBuf>,
    /// The directory of its models.
    pub models: Option<PathBuf>,
}

/// What the worker of such a plugin gets in addition to variables.
pub struct Given {
    /// The plugin's data directory. It may write there, whatever it is held to.
    pub data: PathBuf,
    /// Secrets by the names of their variables.
    pub secrets: BTreeMap<String, String>,
    /// The names of the variables that the plugin declares.
    pub declared: BTreeSet<String>,
    /// The level of Python's `logging`.
    pub log_level: Option<String>,
    /// Settings of the worker, each under its key.
    pub settings: Map<String, Value>,
}

/// Completes the variables of a worker that is about to start, and makes the plugin's data directory. What is in `variables` already
/// stays. `host` is the host's environment. Blocks on the file system for as long as a directory takes to make.
///
/// # Errors
/// `internal` if there is no data directory or it cannot be made.
pub fn prepare(
    manifest: &Manifest,
    own: &CjmManifest,
    places: &Places,
    host: &Variables,
    variables: &mut Variables,
    context: &PluginContext,
) -> Result<Given> {
    // The host's choice alone: it makes the directory, and lets a confined plugin write there.
    let chosen = |name: &str, given: Option<&PathBuf>| -> Option<PathBuf> {
        let named = host.get(OsStr::new(name)).filter(|value| !value.is_empty());
        given.cloned().or_else(|| named.map(PathBuf::from))
    };
    let root = chosen("CJM_DATA_DIR", places.data.as_ref());
    let root = root.or_else(|| Some(places.host_data.as_ref()?.join("cjm"))).ok_or_else(|| {
        PluginError::internal("this user has no home directory").with_help("name a data directory for its data")
    })?;
    let root = std::path::absolute(&root).unwrap_or(root);
    let models = chosen("CJM_MODELS_DIR", places.models.as_ref()).unwrap_or_else(|| root.join("models"));
    let all = root.join("data");
    let data = all.join(&manifest.name);
    std::fs::create_dir_all(&data).map_err(|error| {
        PluginError::internal(format!("cannot make the plugin's data directory {}: {error}", data.display()))
            .with_help("check the permissions above it, or name another place by CJM_DATA_DIR")
    })?;

    let mut give = |name: &str, value: OsString| {
        variables.entry(name.into()).or_insert(value);
    };
    give("CJM_DATA_DIR", root.into());
    give("CJM_MODELS_DIR", models.into());
    for (name, path) in [("CJM_PLUGIN_DATA_DIR", &all), ("PLUGIN_DATA_DIR", &data)] {
        give(name, path.into());
        give(&name.replace("PLUGIN", "CAPABILITY"), path.into());
    }
    give("CJM_WORKER_SESSION_ID", session()?.into());
    for name in NAMES {
        if let Some(value) = host.get(OsStr::new(name)) {
            give(name, value.clone());
        }
    }
    let mut secrets = BTreeMap::new();
    for wanted in &own.worker_env {
        if variables.contains_key(OsStr::new(&wanted.name)) {
            continue;
        }
        let found = if wanted.secret {
            declared::secret(wanted, context).map(|secret| secrets.extend(secret))
        } else {
            declared::value(wanted, &manifest.name, variables)
                .map(|value| variables.extend(value.map(|value| (wanted.name.as_str().into(), value))))
        };
        if let Err(why) = found {
            context.log.push(LogLevel::Warn, LogSource::Host, 0, None, &why);
        }
    }
    let log_level = variables.get(OsStr::new(LOG_LEVEL)).and_then(|level| level.to_str()).map(str::to_owned);
    let declared = own.worker_env.iter().map(|wanted| wanted.name.clone()).collect();
    Ok(Given { data, secrets, declared, log_level, settings: settings(own) })
}

/// What the worker is told of the plugin's adapters.
fn settings(own: &CjmManifest) -> Map<String, Value> {
    let adapters = own.adapters.iter().map(|adapter| {
        let AdapterManifest { task_name, module, class, .. } = &**adapter;
        json!({"task": task_name, "module": module, "class": class})
    });
    Map::from_iter([(SETTING.to_owned(), json!({"adapters": adapters.collect::<Vec<_>>()}))])
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
    use bivium_interface::manifest::{Forms, ManifestFile};
    use bivium_records::{PluginLog, Secrets};

    use super::*;
    use crate::CjmForms;

    fn completed(dir: &Path, more: Value, secrets: Secrets, host: &[(&str, &str)]) -> (Variables, Given, PluginLog) {
        let mut manifest = json!({"name": "whisper", "version": "1", "module": "m", "class": "C", "conda_env": "w",
            "env_vars": {"OWN": "env_vars"}});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (forms, path) = (Forms::with(vec![Box::new(CjmForms)]), dir.join("p.json"));
        let manifest = ManifestFile::parse(&manifest.to_string(), &path, &forms).unwrap().into_plugin(&path).unwrap();
        let mut context = PluginContext::new(PluginLog::new("whisper"), HostPolicy::default().grant(&manifest));
        context.secrets = secrets;
        let mut variables: Variables =
            manifest.python().unwrap().env_vars.iter().map(|(n, v)| (n.into(), v.into())).collect();
        let host = host.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let own = CjmManifest::of(&manifest).unwrap();
        let places = Places { host_data: Some(dir.to_owned()), ..Places::default() };
        let given = prepare(&manifest, own, &places, &host, &mut variables, &context).unwrap();
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
        assert_eq!(given.data, dir.path().join("cjm/data/whisper"));
        assert!(given.data.is_dir());
        assert_eq!(variables[OsStr::new("CJM_LOG_LEVEL")], "DEBUG");
        assert_eq!(given.log_level.as_deref(), Some("DEBUG"));
        assert_eq!(Value::Object(given.settings), json!({"ancestor": {"adapters": []}}));
        let session = variables[OsStr::new("CJM_WORKER_SESSION_ID")].to_str().unwrap().to_owned();
        let parts: Vec<&str> = session.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{session}");

        let named = dir.path().join("theirs");
        let host = [("CJM_DATA_DIR", named.to_str().unwrap()), ("CJM_MODELS_DIR", "/big/models")];
        let (variables, ..) = completed(dir.path(), json!({}), Secrets::default(), &host);
        assert_eq!(variables[OsStr::new("PLUGIN_DATA_DIR")], named.join("data/whisper"));
        assert_eq!(variables[OsStr::new("CJM_MODELS_DIR")], "/big/models");

        // A manifest says what its plugin is told, never where the host makes directories.
        let more =
            json!({"env_vars": {"PLUGIN_DATA_DIR": dir.path().join("victim"), "CJM_DATA_DIR": dir.path().join("x")}});
        let (variables, given, _) = completed(dir.path(), more, Secrets::default(), &[]);
        assert_eq!(variables[OsStr::new("PLUGIN_DATA_DIR")], dir.path().join("victim"));
        assert_eq!(given.data, dir.path().join("cjm/data/whisper"));
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
