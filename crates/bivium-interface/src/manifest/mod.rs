//! The manifest: the JSON file that declares a plugin.
//!
//! The types of this folder are the one place that says which keys there are, of what type, with which bounds and
//! for which runtime (`x-runtime`). The schema that `schemars` makes of them ([`Manifest::json_schema`]) is what editors
//! use and what a file is checked against, so the two cannot differ:
//!
//! - `node` reads the JSON and keeps the lines,
//! - `lift` turns the ancestor's two forms into ours,
//! - `fit` walks the file beside the schema, `rules` knows what keys say of each other,
//! - `resolve` makes the paths absolute.
//!
//! A manifest is untrusted: nothing here opens a file that it names, and every count and number in it is bounded.

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

/// What declares a plugin. Paths are absolute once read by [`Manifest::parse`].
///
/// What every plugin has stands here, and in [`runtime`](Self::runtime) what only those of one runtime have. As JSON it is the file's
/// form, in which the keys of both stand side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "Document")]
#[non_exhaustive]
pub struct Manifest {
    /// The name by which the plugin is called: letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// What kind of work it does, for example `transcription`.
    pub category: Option<String>,
    /// How it runs.
    pub runtime: Runtime,
    /// JSON Schema of the configuration; in its absence the plugin is asked.
    pub config_schema: Option<Value>,
    /// What the plugin needs of the machine.
    pub resources: Resources,
    /// What the plugin may do. A component without them may do nothing; a Python plugin without them is trusted.
    pub permissions: Option<Permissions>,
    /// What the plugin may use up.
    pub limits: Limits,
    /// Refuse to start a worker that cannot be held to its permissions and limits.
    pub enforce: bool,
    /// The manifest's own file.
    pub path: PathBuf,
    /// Whether there is no such file.
    is_bare: bool,
}

impl Manifest {
    /// What only a component's manifest has; none of a Python plugin's.
    #[must_use]
    pub fn wasm(&self) -> Option<&WasmPlugin> {
        match &self.runtime {
            Runtime::Wasm(wasm) => Some(wasm),
            Runtime::Python(_) => None,
        }
    }

    /// What only a Python plugin's manifest has; none of a component's.
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

    /// The files and directories that the plugin is made of, each with its key.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let component = self.wasm().and_then(|wasm| wasm.component.file());
        let (source, python) = match self.python() {
            Some(python) => (python.source.as_deref(), python.python_path.as_deref()),
            None => (None, None),
        };
        let all = [("component", component), ("python_path", python), ("source", source)];
        all.into_iter().filter_map(|(key, path)| Some((key, path?)))
    }

    /// What only a Python plugin's manifest has, to be changed.
    pub fn python_mut(&mut self) -> Option<&mut PythonPlugin> {
        match &mut self.runtime {
            Runtime::Python(python) => Some(std::sync::Arc::make_mut(python)),
            Runtime::Wasm(_) => None,
        }
    }
}

/// What the plugin needs of the machine; the scheduler admits calls by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Resources {
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// Free GPU memory needed, in MiB.
    #[schemars(range(max = 16_777_216))]
    pub min_gpu_vram_mb: Option<u64>,
    /// Free host memory needed, in MiB.
    #[schemars(range(max = 16_777_216))]
    pub min_system_ram_mb: Option<u64>,
    /// Processor slots that a call takes: for calls that compute. The host has one for each logical processor unless it says otherwise.
    #[schemars(range(max = 4096))]
    pub cpu_slots: Option<u32>,
    /// Operating systems on which it runs; any if empty.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub platforms: Vec<String>,
    /// Accelerators that it can use.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub accelerators: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
