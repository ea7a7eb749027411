//! The manifest: the JSON file that declares a plugin.
//!
//! The types of this folder are the one place that says which keys there are, of what type, with which bounds and
//! for which road (`x-road`). The schema that `schemars` makes of them ([`Manifest::json_schema`]) is what editors
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
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lossy;

pub use adapter::AdapterManifest;
pub use ancestor::{Ancestor, EnvVarSpec, Surface, SurfaceAttribute, SurfaceMethod, Taxonomy};
pub use checked::CheckedText;
pub use file::{LONGEST, ManifestFile};
pub use limits::Limits;
pub use permissions::{FilesystemMode, FilesystemPermission, Permissions, SecretPermission};
pub use python::{PythonKind, PythonObject};
pub use requirement::requirement_fault;

/// Which road a plugin takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// A WebAssembly component.
    Wasm,
    /// A Python class or function in a worker process.
    Python,
}

impl Runtime {
    /// The name in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Python => "python",
        }
    }
}

/// What declares a plugin. Paths are absolute once read by [`Manifest::parse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "Bivium plugin manifest",
    description = "Declares one plugin. Relative paths are relative to this file."
)]
#[non_exhaustive]
pub struct Manifest {
    /// The name by which the plugin is called: letters, digits, `-`, `_` and `.`, at most 64.
    #[schemars(with = "text::Name")]
    pub name: String,
    /// The plugin's version.
    #[schemars(with = "text::Version")]
    pub version: String,
    /// One sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(with = "text::Prose", !skip_serializing_if)]
    pub description: String,
    /// What kind of work it does, for example `transcription`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Label>")]
    pub category: Option<String>,
    /// Which road. In its absence a component implies `wasm`, and a module with a class, or a function, implies `python`.
    #[schemars(with = "Option<Runtime>")]
    pub runtime: Runtime,
    /// The component's file (`.wasm`).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>", extend("x-road" = "wasm"))]
    pub component: Option<PathBuf>,
    /// The component's SHA-256 in hexadecimal, in lower case once read; another file is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Sha256>", extend("x-road" = "wasm"))]
    pub sha256: Option<String>,
    /// Whether an instance serves many calls or one.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if, extend("x-road" = "wasm"))]
    pub isolation: Isolation,
    /// How many instances of a component there may be.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if, extend("x-road" = "wasm"))]
    pub instances: Instances,
    /// The Python module.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Module>", extend("x-road" = "python"))]
    pub module: Option<String>,
    /// The class in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Class>", extend("x-road" = "python"))]
    pub class: Option<String>,
    /// A Python function, as `module:function`, in place of `module` and `class`: it is the plugin's `execute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Function>", extend("x-road" = "python"))]
    pub function: Option<String>,
    /// Keyword arguments of the class's constructor.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(
        !skip_serializing_if,
        extend("x-road" = "python", "maxProperties" = 256, "propertyNames" = schema::inline::<text::Argument>())
    )]
    pub init_args: Map<String, Value>,
    /// A directory for the worker's module path, where the plugin is no installed package.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>", extend("x-road" = "python"))]
    pub source: Option<PathBuf>,
    /// The Python interpreter of an environment that exists already. Symbolic links in it are kept, since a
    /// virtual environment's interpreter is one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>", extend("x-road" = "python"))]
    pub python_path: Option<PathBuf>,
    /// Requirements (PEP 508) of an environment that the host makes and keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Requirement>>", length(max = 256), extend("x-road" = "python"))]
    pub requirements: Option<Vec<String>>,
    /// Which versions of Python will do (PEP 440).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::PythonVersions>", extend("x-road" = "python"))]
    pub requires_python: Option<String>,
    /// Environment variables of the worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, text::EnvValue>",
        !skip_serializing_if,
        extend("x-road" = "python", "maxProperties" = 256, "propertyNames" = schema::inline::<text::EnvName>())
    )]
    pub env_vars: BTreeMap<String, String>,
    /// Variables of the host's environment that a trusted worker gets, by name, or by a pattern with `*`. A confined one gets what
    /// `permissions.env` names instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::EnvPattern>", !skip_serializing_if, length(max = 256), extend("x-road" = "python"))]
    pub pass_env: Vec<String>,
    /// How many calls a worker runs at once.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(!skip_serializing_if, range(min = 1, max = 64), extend("x-road" = "python"))]
    pub concurrency: u32,
    /// How many workers.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(!skip_serializing_if, range(min = 1, max = 64), extend("x-road" = "python"))]
    pub replicas: u32,
    /// After how many idle seconds a worker is stopped until the next call; never, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000), extend("x-road" = "python"))]
    pub idle_stop_s: Option<u64>,
    /// How many seconds a worker may take to start.
    #[serde(default = "start_s", skip_serializing_if = "is_start_s")]
    #[schemars(!skip_serializing_if, range(min = 1, max = 86_400), extend("x-road" = "python"))]
    pub start_s: u64,
    /// JSON Schema of the configuration; in its absence the plugin is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub config_schema: Option<Value>,
    /// What the plugin needs of the machine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// What the plugin may do. A component without them may do nothing; a Python plugin without them is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What the plugin may use up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Refuse to start a worker that cannot be held to its permissions and limits.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub enforce: bool,
    /// What only plugins of cjm-plugin-system have; its own manifests are read into this by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-road" = "python"))]
    pub ancestor: Option<Ancestor>,
    /// The component's bytes, in place of `component`, where it lies in no file: see [`Manifest::of_component_bytes`].
    #[serde(skip)]
    pub component_bytes: Option<Arc<[u8]>>,
    /// The manifest's own file.
    #[serde(skip)]
    pub path: PathBuf,
    /// Whether there is no such file.
    #[serde(skip)]
    is_bare: bool,
}

/// Whether an instance serves many calls or one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Instances are kept and serve one call after another.
    #[default]
    Instance,
    /// Every call gets a new instance.
    Call,
}

/// How many instances of a component there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Instances {
    /// At most this many at once; further calls wait.
    #[schemars(range(min = 1, max = 1000))]
    pub max: u32,
}

impl Default for Instances {
    fn default() -> Self {
        Self { max: 1 }
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
    /// Processor slots that a call takes.
    #[schemars(range(max = 4096))]
    pub cpu_slots: Option<u32>,
    /// Operating systems on which it runs; any if empty.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub platforms: Vec<String>,
    /// Accelerators that it can use.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub accelerators: Vec<String>,
}

fn one() -> u32 {
    1
}

fn start_s() -> u64 {
    60
}

// serde calls these with a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_one(value: &u32) -> bool {
    *value == one()
}

#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_start_s(value: &u64) -> bool {
    *value == start_s()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
