//! The properties of JSON Schemas: what a value may be.

use serde_json::Value;

/// Whether the value may be given as a file: a blob, or bytes.
pub(crate) fn is_file(property: &Value) -> bool {
    let own = property.pointer("/properties/$blob").is_some() || property.get("contentEncoding").is_some();
    own || forms(property).iter().any(is_file)
}

/// The alternatives in a schema (`anyOf`, `oneOf`).
pub(crate) fn forms(property: &Value) -> &[Value] {
    let of = |key: &str| property.get(key).and_then(Value::as_array).map(Vec::as_slice);
    of("anyOf").or_else(|| of("oneOf")).unwrap_or_default()
}

/// The schema that a `$ref` refers to, or the property itself.
pub(crate) fn resolved<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    let leads = property.get("$ref").and_then(Value::as_str).and_then(|to| schema.pointer(to.strip_prefix('#')?));
    leads.unwrap_or(property)
}
