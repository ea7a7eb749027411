//! [`Runtime`]: how a plugin runs, and the part of its manifest for that runtime.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::python::PythonPlugin;

/// How a plugin runs, and the part of its manifest for that runtime. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Runtime {
    /// As a WebAssembly component.
    Wasm(Arc<WasmPlugin>),
    /// As a Python class or function in a worker process.
    Python(Arc<PythonPlugin>),
}

impl Runtime {
    pub(super) fn wasm(plugin: WasmPlugin) -> Self {
        Self::Wasm(Arc::new(plugin))
    }

    pub(super) fn python(plugin: PythonPlugin) -> Self {
        Self::Python(Arc::new(plugin))
    }

    /// The kind of runtime.
    #[must_use]
    pub fn kind(&self) -> RuntimeKind {
        match self {
            Self::Wasm(_) => RuntimeKind::Wasm,
            Self::Python(_) => RuntimeKind::Python,
        }
    }
}

/// The runtime of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Runtime")]
pub enum RuntimeKind {
    /// A WebAssembly component.
    Wasm,
    /// A Python class or function in a worker process.
    Python,
}

impl RuntimeKind {
    /// Its name in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Python => "python",
        }
    }
}

/// What only the manifest of a component has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WasmPlugin {
    /// The component.
    pub component: Component,
    /// Its SHA-256 digest, in lower-case hexadecimal. A component with another digest is refused.
    pub sha256: Option<String>,
    /// Whether an instance serves many calls or only one.
    pub isolation: Isolation,
    /// How many instances there may be at once.
    pub instances: Instances,
}

impl WasmPlugin {
    /// A component in a file, with defaults for everything else.
    #[must_use]
    pub fn of_file(file: &Path) -> Self {
        Self::of(Component::File(file.to_owned()))
    }

    pub(super) fn of(component: Component) -> Self {
        Self { component, sha256: None, isolation: Isolation::default(), instances: Instances::default() }
    }
}

/// Where a component is.
#[derive(Debug, Clone, PartialEq)]
pub enum Component {
    /// In a file (`.wasm`).
    File(PathBuf),
    /// In memory: see [`Manifest::of_component_bytes`](super::Manifest::of_component_bytes).
    Bytes(Arc<[u8]>),
}

impl Component {
    /// The file; `None` for a component in memory.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Bytes(_) => None,
        }
    }
}

/// Whether an instance serves many calls or only one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Instances are reused, and serve one call after another.
    #[default]
    Instance,
    /// Every call gets a new instance.
    Call,
}

/// How many instances of a component there may be at once.
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
