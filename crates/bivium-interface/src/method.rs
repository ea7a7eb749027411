//! [`MethodInfo`]: describes a method.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A method that a plugin offers.
///
/// ```
/// # use bivium_interface::MethodInfo;
/// let parameters = serde_json::json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
/// let method = MethodInfo::new("count").with_description("Counts words.").with_parameters(parameters);
/// assert!(!method.streams);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodInfo {
    /// The name to put in [`Call::method`](crate::Call::method).
    pub name: String,
    /// A description in one sentence; empty if the plugin gives none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The plugin's whole documentation of it, if that is more than the description; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// The signature in the plugin's own language; empty if it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// JSON Schema of the named arguments, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// JSON Schema of the result, or of each result of a stream, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<Value>,
    /// Whether it is known to return several results one after another:
    /// [`execute_stream`](crate::PluginInterface::execute_stream) returns each result as soon as it exists.
    #[serde(default)]
    pub streams: bool,
    /// Whether it has a form of its own for a call with one result as well: a Python class with both `execute` and `execute_stream`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub also_runs: bool,
    /// Why it cannot be called, if the plugin has the method but calls cannot reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_callable: Option<String>,
}

impl MethodInfo {
    /// A method of which only the name is known.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets the description, one sentence.
    #[must_use]
    pub fn with_description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// Sets the plugin's whole documentation of it.
    #[must_use]
    pub fn with_doc(self, doc: impl Into<String>) -> Self {
        Self { doc: doc.into(), ..self }
    }

    /// Sets the signature in the plugin's own language.
    #[must_use]
    pub fn with_signature(self, signature: impl Into<String>) -> Self {
        Self { signature: signature.into(), ..self }
    }

    /// Sets the JSON Schema of its named arguments.
    #[must_use]
    pub fn with_parameters(self, schema: impl Into<Option<Value>>) -> Self {
        Self { parameters: schema.into(), ..self }
    }

    /// Sets the JSON Schema of its result.
    #[must_use]
    pub fn with_returns(self, schema: impl Into<Option<Value>>) -> Self {
        Self { returns: schema.into(), ..self }
    }

    /// Sets whether it returns several results, one after another.
    #[must_use]
    pub fn with_streams(self, streams: bool) -> Self {
        Self { streams, ..self }
    }

    /// Sets whether a method that streams has a form of its own for a call with one result as well.
    #[must_use]
    pub fn with_also_runs(self, also_runs: bool) -> Self {
        Self { also_runs, ..self }
    }

    /// Sets why it cannot be called.
    #[must_use]
    pub fn with_not_callable(self, why: impl Into<Option<String>>) -> Self {
        Self { not_callable: why.into(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_values_are_left_out_and_all_others_are_read_again() {
        assert_eq!(json!(MethodInfo::new("a")), json!({"name": "a", "streams": false}));
        let whole = MethodInfo::new("a")
            .with_description("Counts.")
            .with_doc("Counts.\n\nWords.")
            .with_signature("(text)")
            .with_parameters(json!({"type": "object"}))
            .with_returns(json!({}))
            .with_streams(true)
            .with_also_runs(true)
            .with_not_callable("it has resources".to_owned());
        assert_eq!(serde_json::from_value::<MethodInfo>(json!(whole)).unwrap(), whole);
        assert_eq!(serde_json::from_value::<MethodInfo>(json!({"name": "a"})).unwrap(), MethodInfo::new("a"));
    }
}
