//! Advice on calls that failed: on the form of their arguments (a text was given where a number or a file is expected, or a file where
//! a text is expected), and on methods that the plugin does not have.

use bivium::{Call, ErrorCode, MethodInfo, PluginError, PluginManager};
use bivium_interface::nearest;
use serde_json::Value;

use crate::host::Host;
use crate::wanted::{self, Wanted};

/// A text or a file as it was given on the command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    pub(crate) key: String,
    /// None for a file.
    pub(crate) value: Option<String>,
}

/// If the error is about one of these texts, adds to the error in which form that argument must be given.
pub(crate) fn on_texts(error: PluginError, texts: &[Text]) -> PluginError {
    if !matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::InvalidConfig) {
        return error;
    }
    match texts.iter().find_map(|text| advice(&error, text)) {
        Some(advice) => error.and_help(advice),
        None => error,
    }
}

/// The same for a Python plugin. Its error does not say which form is expected; the parameters are known from its source.
pub(crate) async fn by_source(
    manager: &PluginManager,
    plugin: &str,
    method: &str,
    error: PluginError,
    texts: &[Text],
) -> PluginError {
    if texts.is_empty() || !wanted::may_be_of_arguments(&error) {
        return error;
    }
    let Some(method) = wanted::python_method(manager, plugin, method).await else { return error };
    let said = error.help().unwrap_or_default().to_owned();
    let advice = texts.iter().filter_map(|text| by_schema(&method, text)).filter(|advice| !said.contains(advice));
    advice.fold(error, PluginError::and_help)
}

/// The form that a method expects in place of this text or file, as a sentence. `None` if it may be right.
pub(crate) fn by_schema(method: &MethodInfo, Text { key, value }: &Text) -> Option<String> {
    let value = value.as_deref();
    Some(Wanted::by(method, key, value)?.sentence(key, value))
}

/// What a call that names no method of the plugin should name instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The same method, by a streaming call.
    Stream,
    /// This method.
    Method(String),
}

impl Meant {
    /// `None` if the error has another cause, or if nothing is known to be better. The plugin must be loaded.
    pub(crate) async fn by(host: &Host, plugin: &str, method: &str, error: &PluginError) -> Option<Self> {
        if error.code() != ErrorCode::NotFound || !error.message().contains("no method ") {
            return None;
        }
        let call = Call::new().cancellation(host.stop.clone()).handle().clone();
        let known = call.guard(host.manager.methods(plugin)).await.ok()?;
        Self::among(&known, method)
    }

    fn among(known: &[MethodInfo], method: &str) -> Option<Self> {
        if let Some(known) = known.iter().find(|known| known.name == method) {
            return known.streams.then_some(Self::Stream);
        }
        let names: Vec<&str> =
            known.iter().filter(|known| known.not_callable.is_none()).map(|known| known.name.as_str()).collect();
        let meant = nearest(method, names.iter().copied()).or(names.first().copied());
        meant.map(|meant| Self::Method(meant.to_owned()))
    }

    /// What to write on the command line.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Stream => "`bivium stream` makes a streaming call".to_owned(),
            Self::Method(name) if name == Call::EXECUTE => "a call without `--method` runs `execute`".to_owned(),
            Self::Method(name) => format!("name the method with `--method`, for example `--method {name}`"),
        }
    }

    /// What to write in a step of a pipeline.
    pub(crate) fn in_a_step(&self) -> String {
        match self {
            Self::Stream => "write `\"stream\": true` in the step".to_owned(),
            Self::Method(name) if name == Call::EXECUTE => "a step without a `method` runs `execute`".to_owned(),
            Self::Method(name) => format!("name the method in the step, for example `\"method\": {name:?}`"),
        }
    }
}

fn advice(error: &PluginError, text: &Text) -> Option<String> {
    let Text { key, value } = text;
    let place = format!("/{key}");
    let said = error.message();
    let Some(value) = value else {
        let is_wanted = said.contains(&format!(" {key} must be a text, and is an object"))
            || said.contains(&format!(" {key}: invalid type: map, expected a string"))
            || said.starts_with(&format!("the argument at {place} is "))
                && said.contains(", which is not of type string: ");
        return is_wanted.then(|| Wanted::Text.sentence(key, None));
    };
    let quoted = Value::from(value.as_str()).to_string();
    // The messages of a schema, of a typed component, and of a component that uses the SDK.
    let of_schema = error.problems().iter().any(|problem| {
        problem.location == place
            && problem.message.contains(" is not of type")
            && !problem.message.ends_with("\"string\"")
    });
    let of_types = said.starts_with(&format!("the argument at {place} is "));
    let of_sdk = said.contains(&format!("{key} must be ")) && said.contains(&format!(", and is the text {quoted}"))
        || said.contains(&format!("invalid type: string {quoted}, expected "));
    if !(of_schema || of_types || of_sdk) {
        return None;
    }
    let is_file = said.contains("must be a blob") || said.contains("expected a blob") || said.contains("list<u8>");
    Some(if is_file { Wanted::File } else { Wanted::Json }.sentence(key, Some(value)))
}

#[cfg(test)]
mod tests {
    use bivium::Problem;

    use super::*;

    #[test]
    fn the_expected_form_is_named() {
        let text = |key: &str, value: &str| Text { key: key.to_owned(), value: Some(value.to_owned()) };
        let file = Text { key: "name".to_owned(), value: None };
        let texts = [text("text", "hi"), text("n", "3"), text("m", "many"), file];
        let help = |error: PluginError| on_texts(error, &texts).help().map(str::to_owned);
        let sdk = |value: &str, wanted: &str| {
            help(PluginError::invalid_input(format!(
                "the arguments do not fit: invalid type: string {value:?}, expected {wanted} at line 1 column 9"
            )))
        };
        assert_eq!(sdk("hi", "a blob").unwrap(), "`text=…` passes a text: write `text@=FILE` to pass a file");
        assert!(sdk("3", "u32").unwrap().contains("`n:=3`") && sdk("many", "f64").unwrap().contains("`m:=JSON`"));
        assert_eq!(sdk("other", "u32"), None);
        let misfit = |what: &str| help(PluginError::invalid_input(format!("the arguments do not fit: {what}")));
        let told = misfit("text must be a blob, and is the text \"hi\"").unwrap();
        assert_eq!(told, "`text=…` passes a text: write `text@=FILE` to pass a file");
        assert!(misfit("n must be a whole number, and is the text \"3\"").unwrap().contains("`n:=3`"));
        assert_eq!(misfit("k must be a whole number, and is the text \"3\""), None);
        let of_a_file = Some("`name@=…` passes a file: write `name=TEXT` to pass a text".to_owned());
        assert_eq!(misfit("name must be a text, and is an object"), of_a_file);
        assert_eq!(misfit("name: invalid type: map, expected a string"), of_a_file, "of an older SDK");
        assert_eq!(misfit("name must be a number, and is an object"), None);
        let of_types = "the argument at /name is {\"$blob\": 0}, which is not of type string: it is of another type";
        assert_eq!(help(PluginError::invalid_input(of_types)), of_a_file);
        let typed = PluginError::invalid_input(
            "the argument at /n is \"3\", which is not of type u32: it is not a whole number",
        );
        assert!(help(typed.with_help("mend it")).unwrap().starts_with("mend it; `n=…` passes a text: write `n:=3`"));
        let bytes = PluginError::invalid_input(
            "the argument at /text is \"hi\", which is not of type list<u8>: it is not base64",
        );
        assert!(help(bytes).unwrap().contains("`text@=FILE`"));
        let problem = |message: &str| Problem::new("/n", message);
        let schema = |message: &str| help(PluginError::invalid_config("no").with_problems(vec![problem(message)]));
        assert!(schema("\"3\" is not of type \"integer\"").unwrap().contains("`n:=3`"));
        assert_eq!((schema("3 is not of type \"string\""), schema("\"3\" is too short")), (None, None));
        assert_eq!(help(PluginError::not_found("the argument at /n is \"3\", and there is none")), None);
    }
}
