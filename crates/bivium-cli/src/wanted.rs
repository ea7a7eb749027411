//! The form of argument (text, file or JSON) that a method's parameter expects, by the method's schema.
//!
//! The schema of a Python method is made from its source. Python does not enforce it, so no call is refused because of it: it is used
//! to advise on a call that failed, and to report a problem of a pipeline that is checked.

use bivium::{Call, ErrorCode, MethodInfo, PluginError, PluginManager};
use serde_json::Value;

use crate::host::Host;
use crate::property::{forms, is_file, resolved};

/// The form that is expected in place of the one that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A file in place of a text.
    File,
    /// A number or another JSON value in place of a text.
    Json,
    /// A text in place of a file.
    Text,
}

/// The last parts of the names of Python types for files and bytes. JSON Schema has no type for them.
const FILES: [&str; 5] = ["Blob", "Path", "PathLike", "bytes", "bytearray"];
/// Words in names and descriptions of parameters that are plain texts. Without them, a `str` may be the path of a file.
const TEXTS: [&str; 3] = ["text", "prompt", "sentence"];
const PATHS: [&str; 2] = ["file", "path"];

impl Wanted {
    /// The form that the parameter `key` expects, if it is given this text, or a file if `value` is `None`.
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

/// Whether the schema allows a text. It does if it says nothing about types.
fn takes_text(schema: &Value, property: &Value, value: &str) -> bool {
    let property = resolved(schema, property);
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        // If the text is not one of these values, the plugin reports that.
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

/// Whether the parameter is a text that is surely not the path of a file.
fn is_plain_text(key: &str, property: &Value) -> bool {
    let said =
        format!("{key} {}", property.get("description").and_then(Value::as_str).unwrap_or_default()).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    property.get("type").is_some_and(|name| name == "string")
        && property.get("format").is_none()
        && says(&TEXTS)
        && !says(&PATHS)
}

/// Whether wrong arguments may be the cause of this error of a Python plugin. It notices them only when it uses them.
pub(crate) fn may_be_of_arguments(error: &PluginError) -> bool {
    matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::PluginFailed)
}

/// The method of a Python plugin, as its source describes it. None of the plugin's code runs.
pub(crate) async fn python_method(manager: &PluginManager, plugin: &str, method: &str) -> Option<MethodInfo> {
    manager.manifest(plugin).ok()?.python()?;
    let methods = manager.inspect(plugin).await.ok()?.methods?;
    methods.into_iter().find(|known| known.name == method)
}

/// The method of a loaded plugin: as the source of a Python plugin describes it, or as a component does.
pub(crate) async fn method(host: &Host, plugin: &str, method: &str) -> Option<MethodInfo> {
    if host.manager.manifest(plugin).ok()?.python().is_some() {
        return python_method(&host.manager, plugin, method).await;
    }
    let call = Call::new().cancellation(host.stop.clone()).handle().clone();
    let methods = call.guard(host.manager.methods(plugin)).await.ok()?;
    methods.into_iter().find(|known| known.name == method)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_that_a_parameter_expects() {
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
