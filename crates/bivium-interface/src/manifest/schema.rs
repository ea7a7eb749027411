//! The JSON Schemas of the two kinds of file, made once.

use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::document::Document;
use super::{AdapterManifest, Ancestor, Limits, Manifest};

/// The schema for a plugin's manifest.
pub(super) static PLUGIN: LazyLock<Value> = LazyLock::new(|| with_file_keys(of::<Document>()));

/// The schema for an adapter's manifest.
pub(super) static ADAPTER: LazyLock<Value> = LazyLock::new(of::<AdapterManifest>);

/// The schema for `limits`.
pub(super) static LIMITS: LazyLock<Value> = LazyLock::new(of::<Limits>);

impl Manifest {
    /// The JSON Schema (draft 2020-12) of a plugin's manifest in the form that people write, which is also that
    /// of the ancestor's flat manifests; `docs/manifest.schema.json` is its copy. The nested form of the ancestor
    /// is read too but not described.
    #[must_use]
    pub fn json_schema() -> Value {
        PLUGIN.clone()
    }

    /// Whether a manifest, in one of the forms that are read, may have a key at its top.
    #[must_use]
    pub fn has_key(key: &str) -> bool {
        let of_other_forms = ["format_version", "unit", "install", "code"];
        key != "$schema" && (properties(&PLUGIN).any(|(known, _)| known == key) || of_other_forms.contains(&key))
    }
}

/// The schema of a type.
pub(crate) fn of<T: JsonSchema>() -> Value {
    SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>().to_value()
}

/// The schema of a type, for use inside another schema.
pub(super) fn inline<T: JsonSchema>() -> Value {
    T::json_schema(&mut SchemaGenerator::default()).to_value()
}

/// The keys that the ancestor writes beside ours and that are filed under `ancestor`.
pub(super) fn ancestor_keys() -> impl Iterator<Item = &'static str> {
    static KEYS: LazyLock<Vec<String>> =
        LazyLock::new(|| properties(&of::<Ancestor>()).map(|(key, _)| key.clone()).collect());
    KEYS.iter().map(String::as_str)
}

/// The keys of an object and their schemas.
pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Adds the keys that a file may have and a [`Manifest`] has not: those that `lift` takes away.
fn with_file_keys(mut schema: Value) -> Value {
    let theirs = ancestor_keys().map(|key| {
        let here = format!("#/$defs/Ancestor/properties/{key}");
        let told = format!("A key of cjm-plugin-system, read as `ancestor.{key}`.");
        (key.to_owned(), json!({ "$ref": here, "deprecated": true, "description": told, "x-runtime": "python" }))
    });
    let editor = json!({ "type": "string", "description": "This schema's place, for editors." });
    let keys: Map<String, Value> = std::iter::once(("$schema".to_owned(), editor)).chain(theirs).collect();
    if let Some(own) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        own.extend(keys);
    }
    schema
}
