//! JSON Schemas of types.

use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::limits::Limits;

/// The schema for `limits`.
pub(super) static LIMITS: LazyLock<Value> = LazyLock::new(of::<Limits>);

/// The schema (draft 2020-12) of a type.
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>().to_value()
}

/// The schema of a type, for use inside another schema.
pub(super) fn inline<T: JsonSchema>() -> Value {
    T::json_schema(&mut SchemaGenerator::default()).to_value()
}

/// The keys of an object and their schemas.
pub fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}
