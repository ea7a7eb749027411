//! The manifest: the JSON file that declares a plugin.
//!
//! Only the types in this folder define the keys, their types, their bounds and their runtimes (`x-runtime`). `schemars` makes a schema
//! from them ([`Manifest::json_schema`]). Editors use this schema, and files are checked against it, so the two cannot differ:
//!
//! - `node` reads the JSON and records the lines,
//! - `lift` turns the ancestor's two forms into ours,
//! - `fit` compares the file with the schema, and `rules` checks how keys fit together,
//! - `resolve` makes paths absolute.
//!
//! A manifest is untrusted. Nothing here opens a file that it names, and every count and number in it is limited.

mod adapter;
mod ancestor;
mod bare;
mod checked;
mod document;
mod file;
mod fit;
mod lift;
mod limits;
mod node;
mod permissions;
pub(crate) mod problems;
mod python;
mod requirement;
mod resolve;
mod rules;
mod runtime;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use document::Document;

pub use adapter::AdapterManifest;
pub use ancestor::{Ancestor, EnvVarSpec, Surface, SurfaceAttribute, SurfaceMethod, Taxonomy};
pub use checked::CheckedText;
pub use file::{LONGEST, ManifestFile};
pub use limits::Limits;
pub use permissions::{FilesystemMode, FilesystemPermission, Permissions, SecretPermission};
pub use python::{PythonKind, PythonObject, PythonPlugin};
pub use requirement::requirement_fault;
pub use runtime::{Component, Instances, Isolation, Runtime, RuntimeKind, WasmPlugin};

/// Declares a plugin. [`Manifest::parse`] makes the paths absolute.
///
/// [`runtime`](Self::runtime) has what only plugins of one runtime have. Written as JSON, a manifest has the form of its file, with
/// the keys of all parts in one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "Document")]
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
    /// The manifest's own file.
    pub path: PathBuf,
    /// Whether there is no manifest file.
    is_bare: bool,
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

    /// What of plugins of cjm-plugin-system a manifest has.
    #[must_use]
    pub fn ancestor(&self) -> Option<&Ancestor> {
        self.python()?.ancestor.as_ref()
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
            Runtime::Python(python) => Some(std::sync::Arc::make_mut(python)),
            Runtime::Wasm(_) => None,
        }
    }
}

/// What the machine must have for the plugin. The scheduler uses it to admit calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Resources {
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// Free GPU memory that it needs, in MiB.
    #[schemars(range(max = 16_777_216))]
    pub min_gpu_vram_mb: Option<u64>,
    /// Free host memory that it needs, in MiB.
    #[schemars(range(max = 16_777_216))]
    pub min_system_ram_mb: Option<u64>,
    /// Processor slots that a call occupies, for plugins that compute. By default a host has one slot for each logical processor.
    #[schemars(range(max = 4096))]
    pub cpu_slots: Option<u32>,
    /// Operating systems on which it runs. Empty means all.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub platforms: Vec<String>,
    /// Accelerators that it can use.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub accelerators: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
