//! An argument of a step as it was written: in the step, in one of the pipeline's inputs, or on the command line.

use bivium::pipeline::Pipeline;
use bivium::{MethodInfo, Payload};
use bivium_interface::exact;
use serde_json::Value;

use crate::advice::Text;
use crate::wanted::Wanted;

/// The inputs that a run was given.
#[derive(Default)]
pub(super) struct Given {
    names: Vec<String>,
    /// Those that were given as a text or as a file.
    texts: Vec<Text>,
}

impl Given {
    pub(super) fn new(inputs: &Payload, texts: Vec<Text>) -> Self {
        let names = inputs.json.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        Self { names: names.collect(), texts }
    }
}

/// A text or a file, and where it was written.
#[derive(Debug, PartialEq)]
pub(super) enum Argument<'a> {
    /// A text in the step.
    InStep(&'a str),
    /// A text or a file (`None`) on the command line, for this input.
    Given(&'a str, Option<&'a str>),
    /// A text as the default of this input.
    Default(&'a str, &'a str),
    /// The file of this input.
    File(&'a str),
}

impl<'a> Argument<'a> {
    /// `None` if it is neither a text nor a file, or the result of a step.
    pub(super) fn of(pipeline: &'a Pipeline, given: &'a Given, value: &'a Value) -> Option<Self> {
        if let Some(text) = value.as_str() {
            return Some(Self::InStep(text));
        }
        let (name, input) = pipeline.input_of(value)?;
        if let Some(text) = given.texts.iter().find(|text| text.key == name) {
            return Some(Self::Given(name, text.value.as_deref()));
        }
        match (&input.default, &input.file) {
            _ if given.names.iter().any(|given| given == name) => None,
            (Some(Value::String(text)), _) => Some(Self::Default(name, text)),
            (None, Some(_)) => Some(Self::File(name)),
            _ => None,
        }
    }

    fn text(&self) -> Option<&'a str> {
        match self {
            Self::InStep(text) | Self::Default(_, text) => Some(text),
            Self::Given(_, text) => *text,
            Self::File(_) => None,
        }
    }

    /// What the method expects in its place, and what to write. `None` if it may be right.
    pub(super) fn misfit(&self, method: &MethodInfo, argument: &str) -> Option<String> {
        let text = self.text();
        let wanted = Wanted::by(method, argument, text)?;
        let expected = match wanted {
            Wanted::File => format!("takes a file as {argument:?}, but this is a text"),
            Wanted::Json => format!("does not take a text as {argument:?}"),
            Wanted::Text => format!("takes a text as {argument:?}, but this is a file"),
        };
        let json = || {
            let json = exact::from_str::<Value>(text.unwrap_or_default());
            json.map_or_else(|_| "JSON".to_owned(), |value| value.to_string())
        };
        let cure = match (self, wanted) {
            (Self::Given(input, _), Wanted::File) => format!("write `{input}@=FILE`"),
            (Self::Given(input, _), Wanted::Json) => format!("write `{input}:={}`", json()),
            (Self::Given(input, _), Wanted::Text) => format!("write `{input}=TEXT`"),
            (Self::InStep(_), Wanted::Json) => format!("write {}, without quotes", json()),
            (Self::InStep(_), _) => r#"write {"$from": "inputs/NAME"}, and give that input a `file`"#.to_owned(),
            (Self::Default(input, _) | Self::File(input), Wanted::Json) => {
                format!("write {}, without quotes, as the default of the input {input:?}", json())
            }
            (Self::Default(input, _) | Self::File(input), Wanted::File) => {
                format!("give the input {input:?} a `file` in place of its `default`")
            }
            (Self::Default(input, _) | Self::File(input), Wanted::Text) => {
                format!("give the input {input:?} a `default` in place of its `file`")
            }
        };
        Some(format!("{expected}: {cure}"))
    }
}
