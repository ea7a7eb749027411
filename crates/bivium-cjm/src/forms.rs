//! [`CjmForms`]: how their files are read.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use bivium_interface::Manifest;
use bivium_interface::manifest::{
    Extension, ManifestExtension, Node, OtherFile, Problems, fitted, refuse_secret_variable, schema,
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::adapter::AdapterManifest;
use crate::lift;
use crate::manifest::{CjmManifest, KEY};

/// What an adapter's manifest is checked against.
static ADAPTER: LazyLock<Value> = LazyLock::new(schema::of::<AdapterManifest>);

/// Manifests and adapters of cjm-plugin-system and cjm-substrate.
#[derive(Debug, Clone, Copy)]
pub struct CjmForms;

impl ManifestExtension for CjmForms {
    fn key(&self) -> &'static str {
        KEY
    }

    /// The nested form is read too but not described.
    fn properties(&self, generator: &mut SchemaGenerator) -> Map<String, Value> {
        let mut own = generator.subschema_for::<Option<CjmManifest>>();
        own.insert(
            "description".to_owned(),
            "What only plugins of cjm-plugin-system have; its own manifests are read into this by themselves.".into(),
        );
        own.insert("x-runtime".to_owned(), "python".into());
        let place = generator.subschema_for::<CjmManifest>();
        let place = place.get("$ref").and_then(Value::as_str).unwrap_or_default();
        let lifted = lift::keys().map(|key| {
            let told = format!("A key of cjm-plugin-system, read as `{KEY}.{key}`.");
            let here = format!("{place}/properties/{key}");
            (key.to_owned(), json!({ "$ref": here, "deprecated": true, "description": told, "x-runtime": "python" }))
        });
        std::iter::once((KEY.to_owned(), own.to_value())).chain(lifted).collect()
    }

    fn other_keys(&self) -> &'static [&'static str] {
        lift::OTHER_KEYS
    }

    fn lift(&self, root: &mut Node, problems: &mut Problems) -> bool {
        lift::lift(root, problems)
    }

    fn check(&self, root: &Node, problems: &mut Problems) {
        let Some(own) = root.get(KEY) else { return };
        if root.get("function").is_some() {
            let message = format!("{KEY} contradicts function: a plugin of cjm-plugin-system is a class");
            problems.add(own.line, message);
        }
        let wanted = own.value.get("worker_env").map(|entry| entry.value.items()).unwrap_or_default();
        for name in wanted.iter().filter_map(|one| one.get("name")) {
            refuse_secret_variable("worker_env", name.value.as_str(), name.line, problems);
        }
    }

    fn read(&self, value: Value, manifest: &mut Manifest) -> serde_json::Result<Arc<dyn Extension>> {
        let mut own: CjmManifest = serde_json::from_value(value)?;
        if let Some(path) = &mut own.db_path {
            let base = manifest.path.parent().unwrap_or(Path::new(""));
            let whole = base.join(&*path);
            *path = std::path::absolute(&whole).unwrap_or(whole);
        }
        manifest.category = own.category(manifest.category.take());
        Ok(Arc::new(own))
    }

    fn is_other(&self, root: &Node) -> bool {
        root.get("unit").and_then(|unit| unit.value.as_str()) == Some("adapter")
    }

    fn read_other(&self, root: Node, path: &Path, problems: &mut Problems) -> Option<OtherFile> {
        let mut adapter: AdapterManifest = fitted(root, &ADAPTER, problems)?;
        path.clone_into(&mut adapter.path);
        let help = "give the manifest of the plugin that it adapts";
        Some(OtherFile::new("adapter", adapter.name.clone(), path, help, Arc::new(adapter)))
    }

    fn is_beside(&self, name: &str) -> bool {
        name.starts_with("adapter-") && name.ends_with(".json")
    }

    fn complete(&self, manifest: &mut Manifest, found: &[OtherFile]) {
        if let Some(own) = CjmManifest::of(manifest) {
            let adapters: Vec<Arc<AdapterManifest>> = found.iter().filter_map(OtherFile::get).collect();
            let mut own = own.clone();
            own.adapt(&adapters);
            manifest.extensions.set(Arc::new(own));
        }
    }
}
