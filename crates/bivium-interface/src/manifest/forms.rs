//! [`Forms`]: the forms of file that a host reads as manifests.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::document::Document;
use super::extension::{ManifestExtension, OtherFile};
use super::plugin::Manifest;
use super::runtime::RuntimeKind;
use super::schema::properties;

/// What a host reads as manifests: files of our form, and those of its extensions.
pub struct Forms {
    extensions: Vec<Box<dyn ManifestExtension>>,
    schema: Value,
}

impl Forms {
    /// Our own form, without an extension.
    #[must_use]
    pub fn plain() -> &'static Self {
        static PLAIN: LazyLock<Forms> = LazyLock::new(|| Forms::with(Vec::new()));
        &PLAIN
    }

    /// Our own form with these extensions, each of which has a key of its own.
    #[must_use]
    pub fn with(extensions: Vec<Box<dyn ManifestExtension>>) -> Self {
        let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
        // So that our own definitions come first in the schema.
        Document::json_schema(&mut generator);
        let editor = json!({ "type": "string", "description": "This schema's place, for editors." });
        let mut more = Map::from_iter([("$schema".to_owned(), editor)]);
        for extension in &extensions {
            more.extend(extension.properties(&mut generator));
        }
        let mut schema = generator.into_root_schema_for::<Document>().to_value();
        if let Some(own) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            own.extend(more);
        }
        Self { extensions, schema }
    }

    /// The JSON Schema (draft 2020-12) of a plugin's manifest in the form that people write. Files are checked against it, after the
    /// extensions have turned their own forms into that one.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Whether a manifest, in one of the forms that are read, may have a key at its top.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        let is_other = || self.extensions.iter().any(|extension| extension.other_keys().contains(&key));
        key != "$schema" && (properties(&self.schema).any(|(known, _)| known == key) || is_other())
    }

    /// Whether a file of this name belongs to the manifests in its directory, and declares no plugin.
    #[must_use]
    pub fn is_beside(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| extension.is_beside(name))
    }

    /// Gives a plugin what belongs to it of the files that declare no plugin.
    pub fn complete(&self, manifest: &mut Manifest, found: &[OtherFile]) {
        for extension in &self.extensions {
            extension.complete(manifest, found);
        }
    }

    /// Whether plugins of this runtime may have a key at the top of their manifest.
    pub(super) fn is_for(&self, key: &str, runtime: RuntimeKind) -> bool {
        let known = self.schema.get("properties").and_then(|known| known.get(key)?.get("x-runtime")?.as_str());
        known.is_none_or(|known| known == runtime.as_str())
    }

    pub(super) fn extensions(&self) -> impl Iterator<Item = &dyn ManifestExtension> {
        self.extensions.iter().map(AsRef::as_ref)
    }
}
