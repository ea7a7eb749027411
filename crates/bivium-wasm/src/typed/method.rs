//! [`Method`]: an exported function of a typed component, its arguments and its result.

use std::borrow::Cow;
use std::{fmt, mem};

use bivium_instances::document::{self, DocumentLimits, Pace};
use bivium_interface::{Blob, Call, Failure, MethodInfo, Payload, PluginError, Result};
use serde_json::{Map, Value};
use wasmtime::ValRaw;
use wasmtime::component::__internal::CanonicalAbiInfo;
use wasmtime::component::ComponentExportIndex;

use super::display::separated;
use super::flat::flatten;
use super::image::Image;
use super::layout::Places;
use super::memory::Broken;
use super::read::{MemoryPlace, Reader};
use super::schema;
use super::shape::{Part, Shape, frame};
use super::write::{Unwritten, Writer};
use crate::text;

/// The longest message that is taken from a guest, in bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// One exported function.
pub(super) struct Method {
    /// The name under which it is listed.
    pub(super) name: String,
    params: Vec<(String, Part)>,
    /// The layout of all parameters together.
    frame: CanonicalAbiInfo,
    result: Option<Part>,
    pub(super) export: ComponentExportIndex,
}

/// The arguments of a call.
pub(super) struct Arguments {
    positional: Vec<Value>,
    named: Map<String, Value>,
    blobs: Vec<Blob>,
}

impl Arguments {
    /// Takes them out of a call.
    pub(super) fn take(call: &mut Call) -> Self {
        let Call { positional, named, blobs, .. } = call;
        Self { positional: mem::take(positional), named: mem::take(named), blobs: mem::take(blobs) }
    }
}

/// The result of a function.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) json: Value,
    /// Bytes for the blobs that the JSON names.
    pub(super) blobs: Vec<Vec<u8>>,
    /// The counted bytes of the JSON's text: it has at least this many.
    pub(super) counted: usize,
}

impl Outcome {
    const RESULT: &str = "the plugin's result is";

    /// Refuses JSON whose text is too long.
    pub(super) fn check(self, limits: DocumentLimits, pace: &Pace) -> Result<Self> {
        let measured = document::measure(&self.json, limits.text, pace);
        measured.map_err(|why| limits.unwritten(Self::RESULT, why))?;
        Ok(self)
    }
}

impl Method {
    /// A method without a name so far.
    pub(super) fn new(params: Vec<(String, Part)>, result: Option<Part>, export: ComponentExportIndex) -> Self {
        let frame = frame(params.iter().map(|(_, part)| part));
        Self { name: String::new(), params, frame, result, export }
    }

    /// Its description under this name.
    pub(super) fn info(&self, name: &str) -> MethodInfo {
        MethodInfo::new(name)
            .with_signature(self.signature())
            .with_parameters(schema::of_arguments(&self.params))
            .with_returns(schema::of_result(self.result.as_ref()))
    }

    /// A call's arguments, laid out. Blocks while it reads blobs.
    pub(super) fn arguments(&self, arguments: Arguments, limits: DocumentLimits, pace: &Pace) -> Result<Image> {
        let Arguments { positional, mut named, blobs } = arguments;
        document::measure(&named, limits.text, pace)
            .and_then(|()| document::measure(&positional, limits.text, pace))
            .map_err(|why| limits.unwritten("the arguments are", why))?;
        let wrong = |what: String| {
            PluginError::invalid_input(what).with_help(format!("`{}` is {}", text::name(&self.name), self.signature()))
        };
        if let Some(unknown) = named.keys().find(|given| self.params.iter().all(|(name, _)| name != *given)) {
            return Err(wrong(format!("the method has no argument `{}`", text::name(unknown))));
        }
        if positional.len() > self.params.len() {
            return Err(wrong(format!(
                "the call has {} positional arguments, and the method takes {}",
                positional.len(),
                self.params.len()
            )));
        }
        let blobs = Payload { json: Value::Null, blobs };
        let mut reader = Reader::new(&self.params, blobs, limits.held, pace.clone())?;
        let mut positional = positional.into_iter().enumerate();
        let mut places = Places::from(0);
        for (name, part) in &self.params {
            let to = MemoryPlace::argument(places.next(part));
            match (positional.next(), named.swap_remove(name)) {
                (Some(_), Some(_)) => {
                    return Err(wrong(format!("the argument `{name}` is given both by position and by name")));
                }
                (Some((n, value)), None) => reader.argument(Cow::Owned(n.to_string()), part, value, to)?,
                (None, Some(value)) => reader.argument(Cow::Borrowed(name), part, value, to)?,
                // The zeros that are there already mean none.
                (None, None) if matches!(**part, Shape::Option(_)) => {}
                (None, None) => return Err(wrong(format!("the argument `{name}` is missing"))),
            }
        }
        Ok(reader.finish())
    }

    /// The layout of all parameters together.
    pub(super) fn frame(&self) -> &CanonicalAbiInfo {
        &self.frame
    }

    /// The numbers of the arguments that lie in `bytes`.
    pub(super) fn flatten(&self, bytes: &[u8]) -> Option<Vec<ValRaw>> {
        let (mut numbers, mut places) = (Vec::new(), Places::from(0));
        for (_, part) in &self.params {
            flatten(part, bytes, places.next(part), &mut numbers)?;
        }
        Some(numbers)
    }

    pub(super) fn result(&self) -> Option<&Part> {
        self.result.as_ref()
    }

    /// The JSON of the result that lies at `at`, and bytes for the blobs that it names. The error case of a `result` is an error of the
    /// plugin.
    pub(super) fn outcome(&self, mut writer: Writer<'_>, at: usize) -> Result<Result<Outcome>, Broken> {
        let limits = writer.limits();
        let written = match &self.result {
            None => Ok(Value::Null),
            Some(part) => match &**part {
                Shape::Result(ok, err) => match (writer.case(at, 2)?, ok, at + part.carried_at()) {
                    (0, Some(ok), at) => writer.write(ok, at),
                    (0, None, _) => Ok(Value::Null),
                    (_, _, at) => return failure(err.as_deref(), writer, at).map(Err),
                },
                _ => writer.write(part, at),
            },
        };
        let (counted, blobs) = (writer.counted(), mem::take(&mut writer.blobs));
        Ok(match written {
            Ok(json) => Ok(Outcome { json, blobs, counted }),
            Err(Unwritten::Broken(broken)) => return Err(broken),
            Err(Unwritten::Over(error)) => Err(error),
            Err(Unwritten::TooLong) => Err(limits.unwritten(Outcome::RESULT, document::Unwritten::TooLong)),
            Err(Unwritten::TooLarge) => Err(limits.too_large(Outcome::RESULT)),
        })
    }

    /// In WIT syntax.
    fn signature(&self) -> String {
        text::clip(self.to_string(), 500)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func(")?;
        separated(f, &self.params, |f, (name, shape)| write!(f, "{name}: {shape}"))?;
        f.write_str(")")?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

/// The error that a function returned as its result. The case of a variant or an enum is the error's type.
fn failure(part: Option<&Part>, writer: Writer<'_>, at: usize) -> Result<PluginError, Broken> {
    let (kind, message) = match part.map(|part| (part, &**part)) {
        Some((_, Shape::Enum(names))) => {
            let case = writer.case(at, names.len())?;
            (names.get_index(case).cloned().unwrap_or_default(), String::new())
        }
        Some((part, Shape::Variant(cases))) => {
            let case = writer.case(at, cases.len())?;
            match cases.get_index(case) {
                Some((name, Some(carried))) => (name.clone(), error_text(carried, writer, at + part.carried_at())?),
                Some((name, None)) => (name.clone(), String::new()),
                None => (String::new(), String::new()),
            }
        }
        Some((part, _)) => (String::new(), error_text(part, writer, at)?),
        None => (String::new(), "the function returned an error without a description".to_owned()),
    };
    let (kind, message) = (text::clip(kind, MAX_MESSAGE), text::clip(message, MAX_MESSAGE));
    Ok(PluginError::plugin_failed(Failure::new(kind, message)))
}

/// An error's value as text: a string as it is, anything else as JSON.
fn error_text(part: &Part, writer: Writer<'_>, at: usize) -> Result<String, Broken> {
    if **part == Shape::String {
        // One more character, so that it is visible that some were cut off.
        return writer.memory().text(at).map(|text| text.beginning(MAX_MESSAGE + 4));
    }
    match writer.inline(MAX_MESSAGE).write(part, at) {
        Ok(json) => Ok(json.to_string()),
        Err(Unwritten::Broken(broken)) => Err(broken),
        Err(_) => Ok("the error's value is too long to be shown".to_owned()),
    }
}
