//! [`CjmManifest`]: what manifests of cjm-plugin-system and of its successor cjm-substrate say that only their plugins have.
//!
//! Nothing here is written by hand: their tools write it, and `lift` files it under one key.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bivium_interface::manifest::{Extension, text};
use bivium_interface::{Manifest, MethodInfo, lossy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::adapter::AdapterManifest;
use crate::surface::Surface;

/// The key in a manifest of our own form. It is older than this crate, and manifests have it.
pub(crate) const KEY: &str = "ancestor";

/// What only plugins of cjm-plugin-system and cjm-substrate have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CjmManifest {
    /// The conda environment that holds the plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conda_env: Option<String>,
    /// The plugin's own database.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>")]
    pub db_path: Option<PathBuf>,
    /// When it was installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_at: Option<String>,
    /// By which version of the installer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installer_version: Option<String>,
    /// From what it was installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_source: Option<String>,
    /// Whether it was installed from a checkout (`dev`) or a release (`distribution`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The versions of its family's packages in the environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: BTreeMap<String, String>,
    /// When the environment was last refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<String>,
    /// What kind of plugin it calls itself; `category` is what counts.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The class that the plugin's class derives from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// A category that goes before all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Label>")]
    pub category_override: Option<String>,
    /// Where it stands among plugins; its domain is the category of last resort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taxonomy: Option<Taxonomy>,
    /// Environment variables that the worker wants.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worker_env: Vec<EnvVarSpec>,
    /// When the parts made from code were last made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regenerated_at: Option<String>,
    /// The public members of the plugin's class, by which adapters are matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structural_surface: Option<Surface>,
    /// How much of its work it reports: `full` or `ambient`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_class: Option<String>,
    /// The digest of `config_schema` when the manifest was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema_hash: Option<String>,
    /// The digest of `structural_surface` when the manifest was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structural_surface_hash: Option<String>,
    /// An operator's notes; nothing reads them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub overrides: Map<String, Value>,
    /// The adapters that were found and fit; not from its own file.
    #[serde(skip)]
    pub adapters: Vec<Arc<AdapterManifest>>,
}

impl CjmManifest {
    /// What a manifest says of it; none of other plugins.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Option<&Self> {
        manifest.extensions.get()
    }

    /// The category of a plugin whose manifest has this one: an override goes first, and the domain and the role stand in for none.
    pub(crate) fn category(&self, own: Option<String>) -> Option<String> {
        let taxonomy = || self.taxonomy.clone().unwrap_or_default();
        let candidates = [self.category_override.clone(), own, taxonomy().domain, taxonomy().role];
        candidates.into_iter().flatten().find(|text| !text.is_empty())
    }

    /// Keeps those that fit, in their order. Of several for one task the first counts.
    pub fn adapt<'a>(&mut self, found: impl IntoIterator<Item = &'a Arc<AdapterManifest>>) {
        self.adapters.clear();
        for adapter in found {
            let is_taken = self.adapters.iter().any(|taken| taken.task_name == adapter.task_name);
            if !is_taken && adapter.fits(self.structural_surface.as_ref()).is_ok() {
                self.adapters.push(Arc::clone(adapter));
            }
        }
    }
}

impl Extension for CjmManifest {
    fn key(&self) -> &'static str {
        KEY
    }

    fn to_value(&self) -> Value {
        // Its keys are strings and its paths texts, so that there is no error.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn is_same(&self, other: &dyn Extension) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }

    /// Their host checks for unknown keys alone, and their tools write schemas that their own defaults do not fit (every type that
    /// they do not know is a string).
    fn config_checks(&self, schema: &Value) -> Option<Value> {
        let properties = schema.get("properties")?.as_object().filter(|properties| !properties.is_empty())?;
        let names: Map<String, Value> = properties.keys().map(|name| (name.clone(), Value::Bool(true))).collect();
        Some(json!({"type": "object", "properties": names, "additionalProperties": false}))
    }

    fn methods(&self) -> Option<Vec<MethodInfo>> {
        let methods = self.structural_surface.as_ref()?.methods.iter();
        Some(methods.map(|method| MethodInfo::new(&method.name).with_signature(&method.signature)).collect())
    }
}

/// What a plugin of cjm-plugin-system is for, and which interface it implements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Taxonomy {
    /// For example `transcription`.
    #[schemars(with = "Option<text::Prose>")]
    pub domain: Option<String>,
    /// The interface's class name.
    #[schemars(with = "Option<text::Prose>")]
    pub role: Option<String>,
    /// The interface's class with its module.
    pub interface_fqcn: Option<String>,
}

/// An environment variable that a worker wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvVarSpec {
    /// The variable.
    #[schemars(with = "text::EnvName")]
    pub name: String,
    /// Whether it is a secret, which has no default and is never shown.
    #[serde(default)]
    pub secret: bool,
    /// Whether the plugin is of no use without it.
    #[serde(default)]
    pub required: bool,
    /// A name for people.
    #[serde(default)]
    #[schemars(with = "text::Prose")]
    pub label: String,
    /// Help for people.
    #[serde(default)]
    #[schemars(with = "text::Prose")]
    pub description: String,
    /// Its value if nothing else gives one; may hold `${CJM_MODELS_DIR}`, `${CJM_PLUGIN_DATA_DIR}`,
    /// `${PLUGIN_DATA_DIR}` and `${PLUGIN_NAME}`, or the same with `CAPABILITY` in place of `PLUGIN`.
    #[serde(default)]
    #[schemars(with = "Option<text::EnvValue>")]
    pub default: Option<String>,
    /// The values that it may have; any, if absent.
    #[serde(default)]
    pub options: Option<Vec<String>>,
}
