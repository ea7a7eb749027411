//! The manifest: the JSON file that declares a plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which road a plugin takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// A WebAssembly component.
    Wasm,
    /// A Python class in a worker process.
    Python,
}

/// What declares a plugin. Paths are absolute once read by [`Manifest::parse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The name by which the plugin is called: letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// What kind of work it does, for example `transcription`.
    #[serde(default)]
    pub category: Option<String>,
    /// Which road.
    pub runtime: Runtime,
    /// The component's file (`.wasm`).
    #[serde(default)]
    pub component: Option<PathBuf>,
    /// The component's SHA-256 in lower-case hexadecimal; another file is refused.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Whether an instance serves many calls or one.
    #[serde(default)]
    pub isolation: Isolation,
    /// How many instances of a component there may be.
    #[serde(default)]
    pub instances: Instances,
    /// The Python module.
    #[serde(default)]
    pub module: Option<String>,
    /// The class in it.
    #[serde(default)]
    pub class: Option<String>,
    /// A directory for the worker's module path, where the plugin is no installed package.
    #[serde(default)]
    pub source: Option<PathBuf>,
    /// The Python interpreter of an environment that exists already.
    #[serde(default)]
    pub python_path: Option<PathBuf>,
    /// Requirements (PEP 508) of an environment that the host makes and keeps.
    #[serde(default)]
    pub requirements: Option<Vec<String>>,
    /// Which versions of Python will do (PEP 440).
    #[serde(default)]
    pub requires_python: Option<String>,
    /// Environment variables of the worker.
    #[serde(default)]
    pub env_vars: BTreeMap<String, String>,
    /// How many calls a worker runs at once.
    #[serde(default = "one")]
    pub concurrency: u32,
    /// How many workers.
    #[serde(default = "one")]
    pub replicas: u32,
    /// After how many idle seconds a worker is stopped until the next call.
    #[serde(default)]
    pub idle_stop_s: Option<u64>,
    /// How many seconds a worker may take to start.
    #[serde(default = "start_s")]
    pub start_s: u64,
    /// JSON Schema of the configuration; in its absence the plugin is asked.
    #[serde(default)]
    pub config_schema: Option<Value>,
    /// What the plugin needs of the machine.
    #[serde(default)]
    pub resources: Resources,
    /// What the plugin may do. A component without them may do nothing; a Python plugin without them is trusted.
    #[serde(default)]
    pub permissions: Option<Permissions>,
    /// What the plugin may use up.
    #[serde(default)]
    pub limits: Limits,
    /// Refuse to start a worker that cannot be held to its permissions and limits.
    #[serde(default)]
    pub enforce: bool,
    /// The manifest's own file.
    #[serde(skip)]
    pub path: PathBuf,
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
pub struct Instances {
    /// At most this many at once; further calls wait.
    pub max: u32,
}

impl Default for Instances {
    fn default() -> Self {
        Self { max: 1 }
    }
}

/// What the plugin needs of the machine; the scheduler admits calls by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resources {
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// Free GPU memory needed, in MiB.
    pub min_gpu_vram_mb: Option<u64>,
    /// Free host memory needed, in MiB.
    pub min_system_ram_mb: Option<u64>,
    /// Processor slots that a call takes.
    pub cpu_slots: Option<u32>,
    /// Operating systems on which it runs; any if empty.
    pub platforms: Vec<String>,
    /// Accelerators that it can use.
    pub accelerators: Vec<String>,
}

/// What the plugin may do. Everything not named is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Permissions {
    /// Directories that it may use.
    pub filesystem: Vec<FilesystemPermission>,
    /// Origins that it may connect to, for example `https://api.example.com:443`.
    pub network: Vec<String>,
    /// Environment variables that it may see.
    pub env: Vec<String>,
    /// Whether it may read the clocks.
    pub clocks: bool,
    /// Whether it may have random numbers.
    pub random: bool,
    /// Secrets that the host puts into its requests.
    pub secrets: Vec<SecretPermission>,
}

/// A directory that a plugin may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilesystemPermission {
    /// The directory on the host.
    pub path: PathBuf,
    /// Where the plugin sees it.
    pub guest: String,
    /// What it may do there.
    #[serde(default)]
    pub mode: FilesystemMode,
}

/// What a plugin may do in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FilesystemMode {
    /// Read.
    #[default]
    Read,
    /// Read and write.
    Write,
}

/// A secret that the host puts into a plugin's requests, so that the plugin never sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretPermission {
    /// The secret's name.
    pub name: String,
    /// The header that carries it.
    pub header: String,
    /// The header's value; `{}` stands for the secret.
    #[serde(default = "bare_secret")]
    pub format: String,
    /// The hosts that it may go to.
    pub hosts: Vec<String>,
}

/// What a plugin may use up. None means the host's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Memory of one instance, in MiB.
    pub memory_mb: Option<u64>,
    /// Wall time of one call, in milliseconds.
    pub call_ms: Option<u64>,
    /// Fuel of one call; none means that fuel is not counted.
    pub fuel: Option<u64>,
    /// JSON of one payload, in MiB.
    pub payload_mb: Option<u64>,
}

fn one() -> u32 {
    1
}

fn start_s() -> u64 {
    60
}

fn bare_secret() -> String {
    "{}".to_owned()
}
