//! Text in errors about values, their types and their places.

use std::borrow::Cow;
use std::fmt;

use bivium_interface::reference_token;
use serde_json::Value;

use super::shape::Shape;
use crate::text;

/// A step of the path to a value.
pub(super) enum Step<'a> {
    Name(Cow<'a, str>),
    Index(usize),
}

/// The beginning of a value, for a message.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let shown = match value {
        Value::Array(items) => format!("an array of {} items", items.len()),
        Value::Object(object) => format!("an object of {} keys", object.len()),
        Value::String(text) if text.len() > MOST => {
            format!("{:?}… ({} bytes)", text::clip(text.clone(), MOST), text.len())
        }
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    text::clip(shown, MOST * 8)
}

pub(super) fn shown_shape(shape: &Shape) -> String {
    text::clip(shape.to_string(), 200)
}

/// The first names of a type, for a message.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let mut names: Vec<String> = names.take(MOST + 1).map(|name| format!("`{}`", text::name(name))).collect();
    if names.len() > MOST {
        names.truncate(MOST);
        names.push("…".to_owned());
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A JSON Pointer (RFC 6901) to a value.
pub(super) struct Pointer<'a>(pub(super) &'a [Step<'a>]);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0 {
            match step {
                Step::Name(name) => write!(f, "/{}", text::name(&reference_token(name)))?,
                Step::Index(n) => write!(f, "/{n}")?,
            }
        }
        Ok(())
    }
}
