//! [`Import`]: a plugin that their tools have installed, as it would be loaded here.

use std::path::Path;

use bivium_interface::{Manifest, lossy};
use serde::Serialize;

use crate::manifest::{CjmManifest, EnvVarSpec};

/// One plugin, as it would be loaded, and what to know before.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Import<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its manifest.
    #[serde(serialize_with = "lossy::path")]
    pub manifest: &'a Path,
    /// The interpreter of its environment.
    #[serde(serialize_with = "lossy::optional")]
    pub python_path: Option<&'a Path>,
    /// Whether the interpreter is there.
    pub has_python: bool,
    /// The tasks of its adapters.
    pub tasks: Vec<&'a str>,
    /// Its secrets by name.
    pub secrets: Vec<&'a str>,
    /// What to know before it is loaded.
    pub notes: Vec<String>,
}

impl<'a> Import<'a> {
    /// What a manifest says of it, with the adapters that fit. `has_adapters` is whether any adapter was found. Looks whether the
    /// interpreter is there, and starts nothing.
    #[must_use]
    pub fn of(manifest: &'a Manifest, has_adapters: bool) -> Self {
        let python_path = manifest.python().and_then(|python| python.python_path.as_deref());
        let has_python = python_path.is_none_or(Path::is_file);
        let mut notes = Vec::new();
        if !has_python {
            notes.push("its interpreter is not there".to_owned());
        }
        let own = CjmManifest::of(manifest);
        let wanted = own.iter().flat_map(|own| &own.worker_env);
        let (secrets, others): (Vec<&EnvVarSpec>, Vec<_>) = wanted.partition(|wanted| wanted.secret);
        let secrets: Vec<&str> = secrets.into_iter().map(|wanted| wanted.name.as_str()).collect();
        notes.extend(secrets.iter().map(|name| format!("give its secret as BIVIUM_SECRET_{name}")));
        let has = |name: &str| manifest.python().is_some_and(|python| python.env_vars.contains_key(name));
        let is_given = |wanted: &EnvVarSpec| wanted.default.is_some() || has(&wanted.name);
        let missing = others.into_iter().filter(|wanted| wanted.required && !is_given(wanted));
        notes.extend(missing.map(|wanted| format!("it wants {} in env_vars", wanted.name)));
        // That an adapter is for another kind of work needs no note.
        if own.is_none_or(|own| own.structural_surface.is_none()) && has_adapters {
            notes.push("no adapter fits a manifest without structural_surface: have it made anew".to_owned());
        }
        Self {
            name: &manifest.name,
            version: &manifest.version,
            manifest: &manifest.path,
            python_path,
            has_python,
            tasks: own.iter().flat_map(|own| &own.adapters).map(|adapter| adapter.task_name.as_str()).collect(),
            secrets,
            notes,
        }
    }
}
