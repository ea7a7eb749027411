//! The ancestor's other kind of manifest: a class in a plugin's environment that offers it for a task.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Surface, text};

/// Declares an adapter (`adapter-TASK-CLASS.json`, with `"unit": "adapter"`): a class that makes a task's methods
/// out of any plugin whose class has the members that it asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Adapter manifest")]
pub struct AdapterManifest {
    /// `adapter`, by which the file is told from a plugin's manifest.
    pub unit: Unit,
    /// The module and the class, joined by a dot.
    #[schemars(with = "text::Module")]
    pub name: String,
    /// The version of the package that defines the task.
    #[serde(default)]
    #[schemars(with = "text::Prose")]
    pub version: String,
    /// The task that it serves, for example `graph-storage`.
    #[schemars(with = "text::Label")]
    pub task_name: String,
    /// The module, importable in the plugin's environment.
    #[schemars(with = "text::Module")]
    pub module: String,
    /// The class in it.
    #[schemars(with = "text::Class")]
    pub class: String,
    /// The protocol's class with its module.
    #[serde(default)]
    pub required_tool_protocol: String,
    /// What a plugin's class must have.
    #[serde(default)]
    pub protocol_members: Surface,
    /// JSON Schema of the adapter's configuration.
    #[serde(default)]
    pub config_schema: Map<String, Value>,
    /// The conda environment in which it was found.
    #[serde(default)]
    pub conda_env: String,
    /// When the manifest was made.
    #[serde(default)]
    pub generated_at: String,
    /// The manifest's own file.
    #[serde(skip)]
    pub path: PathBuf,
}

/// What an adapter's manifest calls itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// An adapter.
    #[default]
    Adapter,
}
