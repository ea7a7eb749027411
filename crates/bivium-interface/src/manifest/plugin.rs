//! [`Manifest`]: what declares a plugin.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::extensions::Extensions;
use super::limits::Limits;
use super::permissions::Permissions;
use super::python::PythonPlugin;
use super::resources::Resources;
use super::runtime::{Runtime, WasmPlugin};

/// Declares a plugin. [`Manifest::parse`] makes the paths absolute.
///
/// [`runtime`](Self::runtime) has what only plugins of one runtime have. Written as JSON, a manifest has the form of its file, with
/// the keys of all parts in one object.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The name by which the plugin is called: letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// A description in one sentence.
    pub description: String,
    /// What kind of work it does, for example `transcription`.
    pub category: Option<String>,
    /// How the plugin runs.
    pub runtime: Runtime,
    /// JSON Schema of the configuration. If it is missing, the plugin is asked for it.
    pub config_schema: Option<Value>,
    /// What the machine must have for the plugin.
    pub resources: Resources,
    /// What the plugin may do. A component without permissions may do nothing; a Python plugin without permissions is trusted.
    pub permissions: Option<Permissions>,
    /// How much the plugin may use.
    pub limits: Limits,
    /// Whether to refuse to start a worker whose permissions and limits this machine cannot enforce.
    pub enforce: bool,
    /// What the keys of extensions say, see [`ManifestExtension`](super::ManifestExtension).
    pub extensions: Extensions,
    /// The manifest's own file.
    pub path: PathBuf,
    /// Whether there is no manifest file.
    pub(super) is_bare: bool,
}

impl Manifest {
    /// What only a component's manifest has; `None` for a Python plugin.
    #[must_use]
    pub fn wasm(&self) -> Option<&WasmPlugin> {
        match &self.runtime {
            Runtime::Wasm(wasm) => Some(wasm),
            Runtime::Python(_) => None,
        }
    }

    /// What only a Python plugin's manifest has; `None` for a component.
    #[must_use]
    pub fn python(&self) -> Option<&PythonPlugin> {
        match &self.runtime {
            Runtime::Python(python) => Some(python),
            Runtime::Wasm(_) => None,
        }
    }

    /// The requirements of an environment that the host makes.
    #[must_use]
    pub fn requirements(&self) -> Option<&[String]> {
        self.python()?.requirements.as_deref()
    }

    /// The files and directories that the plugin consists of, each with its key.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let component = self.wasm().and_then(|wasm| wasm.component.file());
        let (source, python) = match self.python() {
            Some(python) => (python.source.as_deref(), python.python_path.as_deref()),
            None => (None, None),
        };
        let all = [("component", component), ("python_path", python), ("source", source)];
        all.into_iter().filter_map(|(key, path)| Some((key, path?)))
    }

    /// What only a Python plugin's manifest has, as a mutable reference.
    pub fn python_mut(&mut self) -> Option<&mut PythonPlugin> {
        match &mut self.runtime {
            Runtime::Python(python) => Some(Arc::make_mut(python)),
            Runtime::Wasm(_) => None,
        }
    }
}
