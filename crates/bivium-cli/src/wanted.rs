//! What form a method's parameter wants of an argument, by the schema that is known of the method.
//!
//! Of a Python method that is what its source says. Python does not hold callers to it, so nothing is refused for it: it is advice on
//! a call that failed, and a problem of a pipeline that is checked.

use bivium::{ErrorCode, MethodInfo, PluginError, PluginManager};
use serde_json::Value;

use crate::commands::how::{forms, is_file, resolved};

/// The form that is wanted in place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A file in place of a text.
    File,
    /// A number or another JSON value in place of a text.
    Json,
    /// A text in place of a file.
    Text,
}

/// How Python's own types of files and bytes end, which have no form in JSON Schema.
const FILES: [&str; 5] = ["Blob", "Path", "PathLike", "bytes", "bytearray"];
/// What names and descriptions of plain texts say. A `str` may as well be the path of a file.
const TEXTS: [&str; 3] = ["text", "prompt", "sentence"];
const PATHS: [&str; 2] = ["file", "path"];

impl Wanted {
    /// Of a parameter that is given this text; none for a file.
    pub(crate) fn by(method: &MethodInfo, key: &str, value: Option<&str>) -> Option<Self> {
        let schema = method.parameters.as_ref()?;
        let property = schema.get("properties")?.get(key)?;
        match value {
            Some(value) if property.get("default").is_some_and(|default| default == value) => None,
            Some(_) if is_file(property) || is_pythons_file(property) => Some(Self::File),
            Some(value) => (!takes_text(schema, property, value)).then_some(Self::Json),
            None => is_plain_text(key, property).then_some(Self::Text),
        }
    }

    /// What to write on the command line.
    pub(crate) fn sentence(self, key: &str, value: Option<&str>) -> String {
        match self {
            Self::File => format!("`{key}=…` passes a text: write `{key}@=FILE` to pass a file"),
            Self::Text => format!("`{key}@=…` passes a file: write `{key}=TEXT` to pass a text"),
            Self::Json => {
                let is_json = |value: &&str| bivium_interface::exact::from_str::<Value>(value).is_ok();
                let json = value.filter(is_json).unwrap_or("JSON");
                format!("`{key}=…` passes a text: write `{key}:={json}` for a number or another JSON value")
            }
        }
    }
}

fn is_pythons_file(property: &Value) -> bool {
    let named = property.get("$comment").and_then(Value::as_str).unwrap_or_default();
    FILES.contains(&named.rsplit('.').next().unwrap_or_default())
}

/// Whether a text may stand there: where the schema says nothing of it, it may.
fn takes_text(schema: &Value, property: &Value, value: &str) -> bool {
    let property = resolved(schema, property);
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        // One that is none of several texts is told by the plugin.
        return values.iter().any(Value::is_string) || values.is_empty();
    }
    if let Some(only) = property.get("const") {
        return only == value;
    }
    let forms = forms(property);
    if !forms.is_empty() {
        return forms.iter().any(|form| is_file(form) || takes_text(schema, form, value));
    }
    match property.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => true,
    }
}

/// Whether a file's path is surely not what is meant.
fn is_plain_text(key: &str, property: &Value) -> bool {
    let said =
        format!("{key} {}", property.get("description").and_then(Value::as_str).unwrap_or_default()).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    property.get("type").is_some_and(|name| name == "string")
        && property.get("format").is_none()
        && says(&TEXTS)
        && !says(&PATHS)
}

/// Whether wrong arguments may be behind an error of a Python plugin, which learns of them when it works with them.
pub(crate) fn may_be_of_arguments(error: &PluginError) -> bool {
    matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::PluginFailed)
}

/// The method of a Python plugin, as its source tells it. None of the plugin runs.
pub(crate) async fn python_method(manager: &PluginManager, plugin: &str, method: &str) -> Option<MethodInfo> {
    manager.manifest(plugin).ok()?.python()?;
    let methods = manager.inspect(plugin).await.ok()?.methods?;
    methods.into_iter().find(|known| known.name == method)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_that_a_parameter_wants() {
        let properties = json!({
            "text": {"type": "string"}, "n": {"type": "integer"}, "auto": {"type": "integer", "default": "auto"},
            "audio": {"type": "string"}, "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "level": {"enum": [1, 2]}, "mode": {"enum": ["a"]},
            "image": {"$comment": "bivium_worker.Blob"}, "array": {"$comment": "np.ndarray"}, "any": {},
            "label": {"type": "string", "description": "The text, or the path of a file."}});
        let method = MethodInfo::new("execute").with_parameters(json!({"type": "object", "properties": properties}));
        for (key, of_text, of_file) in [
            ("text", None, Some(Wanted::Text)),
            ("n", Some(Wanted::Json), None),
            ("auto", None, None),
            ("audio", None, None),
            ("maybe", Some(Wanted::Json), None),
            ("either", None, None),
            ("level", Some(Wanted::Json), None),
            ("mode", None, None),
            ("image", Some(Wanted::File), None),
            ("array", None, None),
            ("any", None, None),
            ("label", None, None),
            ("unknown", None, None),
        ] {
            assert_eq!(
                (Wanted::by(&method, key, Some("auto")), Wanted::by(&method, key, None)),
                (of_text, of_file),
                "{key}"
            );
        }
        assert!(Wanted::by(&method, "auto", Some("3")).is_some(), "what is not its default");
        assert!(Wanted::Json.sentence("n", Some("3")).contains("`n:=3`"));
        assert!(Wanted::Json.sentence("n", Some("three")).contains("`n:=JSON`"));
    }
}
