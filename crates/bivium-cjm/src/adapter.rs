//! [`AdapterManifest`]: their other kind of manifest, for a class in a plugin's environment that offers the plugin for a task.

use std::path::PathBuf;

use bivium_interface::manifest::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::surface::Surface;

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

impl AdapterManifest {
    /// Whether a plugin with these public members can be adapted: it has every method of the protocol, whose
    /// parameters its own begin with where both were recorded, and every property.
    ///
    /// # Errors
    /// What is missing, as a clause that says why it does not fit.
    pub fn fits(&self, surface: Option<&Surface>) -> Result<(), String> {
        let Some(surface) = surface else {
            return Err("the plugin's manifest has no structural_surface: have it made anew".to_owned());
        };
        let mut reasons = Vec::new();
        for wanted in &self.protocol_members.methods {
            let Some(found) = surface.methods.iter().find(|method| method.name == wanted.name) else {
                reasons.push(format!("the plugin has no method {}", wanted.name));
                continue;
            };
            if let (Some(wanted_params), Some(params)) = (&wanted.params, &found.params)
                && !params.starts_with(wanted_params)
            {
                let (has, wants) = (params.join(", "), wanted_params.join(", "));
                reasons.push(format!("the plugin's {}({has}) does not begin with ({wants})", wanted.name));
            }
        }
        let missing = self.protocol_members.properties.iter().filter(|name| !surface.properties.contains(name));
        reasons.extend(missing.map(|name| format!("the plugin has no property {name}")));
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }
}

/// What an adapter's manifest calls itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// An adapter.
    #[default]
    Adapter,
}
