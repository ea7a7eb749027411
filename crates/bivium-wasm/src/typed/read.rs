//! JSON to component values.
//!
//! Values are a caller's: every one is held against its type before the guest sees any of them, and an error names the
//! place, the type and what stood there. What the values weigh on the host is bounded, for the engine's form of a value
//! is many times the size of a byte.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bivium_interface::{Payload, PluginError, Result, unescape_key};
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};
use wasmtime::component::Val;

use super::shape::{Int, Shape};
use crate::{blobs, text};

/// Up to here a JSON number is exact everywhere; whole numbers beyond it are written as strings.
pub(super) const MAX_EXACT: i128 = 1 << 53;

/// Padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads values of one call.
pub(crate) struct Reader {
    /// What `{"$blob": n}` stands for.
    blobs: Payload,
    /// Bytes that values may still take up here.
    left: usize,
    limit: usize,
    path: Vec<Step>,
}

enum Step {
    Name(String),
    Index(usize),
}

impl Reader {
    /// `limit` is what all values together may take up on the host, in bytes.
    pub(crate) fn new(blobs: Payload, limit: usize) -> Self {
        Self { blobs, left: limit, limit, path: Vec::new() }
    }

    /// The value at `name`, the name of an argument or its position.
    pub(crate) fn argument(&mut self, name: String, shape: &Shape, value: Value) -> Result<Val> {
        self.within(Step::Name(name), shape, value)
    }

    fn within(&mut self, step: Step, shape: &Shape, value: Value) -> Result<Val> {
        self.path.push(step);
        let val = self.read(shape, value);
        self.path.pop();
        val
    }

    fn read(&mut self, shape: &Shape, value: Value) -> Result<Val> {
        self.charge(size_of::<Val>())?;
        Ok(match (shape, value) {
            (Shape::Bool, Value::Bool(value)) => Val::Bool(value),
            (Shape::Int(int), value) => self.int(*int, value)?,
            (Shape::F32, value) => Val::Float32(self.float(shape, value, |number| {
                #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
                let number = number as f32;
                number
            })?),
            (Shape::F64, value) => Val::Float64(self.float(shape, value, |number| number)?),
            (Shape::Char, Value::String(value)) => {
                let mut chars = value.chars();
                match (chars.next(), chars.next()) {
                    (Some(one), None) => Val::Char(one),
                    _ => return Err(self.wrong(shape, &Value::String(value), "it is not one character")),
                }
            }
            (Shape::String, Value::String(value)) => {
                self.charge(value.len())?;
                Val::String(value)
            }
            (Shape::Bytes(len), value) => self.bytes(shape, *len, value)?,
            (Shape::List(item, len), Value::Array(values)) => {
                self.length(shape, *len, values.len())?;
                let items = self.items(values, |reader, step, value| reader.within(step, item, value))?;
                if len.is_some() { Val::FixedLengthList(items) } else { Val::List(items) }
            }
            (Shape::Map(key, value), entries) => Val::Map(self.map(shape, key, value, entries)?),
            (Shape::Tuple(shapes), Value::Array(values)) => {
                self.length(shape, u32::try_from(shapes.len()).ok(), values.len())?;
                let mut shapes = shapes.iter();
                Val::Tuple(self.items(values, |reader, step, value| match shapes.next() {
                    Some(shape) => reader.within(step, shape, value),
                    None => Err(reader.wrong(shape, &value, "it is one too many")),
                })?)
            }
            (Shape::Record(fields), Value::Object(object)) => Val::Record(self.fields(fields, object)?),
            (Shape::Variant(cases), value) => self.variant(shape, cases, value)?,
            (Shape::Enum(names), Value::String(name)) => {
                self.known(shape, names, &name)?;
                Val::Enum(name)
            }
            (Shape::Flags(names), Value::Array(values)) => Val::Flags(self.flags(shape, names, values)?),
            (Shape::Option(_), Value::Null) => Val::Option(None),
            (Shape::Option(some), value) if !some.may_be_null() => Val::Option(Some(Box::new(self.read(some, value)?))),
            (Shape::Option(some), value) => {
                let (_, value) = self.tagged(shape, value, &["some"])?;
                Val::Option(Some(Box::new(self.within(Step::Name("some".to_owned()), some, value)?)))
            }
            (Shape::Result(ok, err), value) => {
                let (name, value) = self.tagged(shape, value, &["ok", "err"])?;
                let is_ok = name == "ok";
                let carried = self.carried(name, if is_ok { ok } else { err }.as_deref(), value)?;
                Val::Result(if is_ok { Ok(carried) } else { Err(carried) })
            }
            (shape, value) => return Err(self.wrong(shape, &value, "it is of another type")),
        })
    }

    fn int(&self, int: Int, value: Value) -> Result<Val> {
        let (_, least, greatest) = int.range();
        let number = match &value {
            Value::Number(number) => whole(number),
            // As the large ones are written, so that what one call gave another takes.
            Value::String(digits) if greatest > MAX_EXACT => digits.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| {
            let or_text = if greatest > MAX_EXACT { ", nor one as a string" } else { "" };
            self.wrong(&Shape::Int(int), &value, &format!("it is no whole number{or_text}"))
        })?;
        // In range, so that none of the conversions cuts anything off.
        let val = match int {
            Int::S8 => i8::try_from(number).map(Val::S8),
            Int::U8 => u8::try_from(number).map(Val::U8),
            Int::S16 => i16::try_from(number).map(Val::S16),
            Int::U16 => u16::try_from(number).map(Val::U16),
            Int::S32 => i32::try_from(number).map(Val::S32),
            Int::U32 => u32::try_from(number).map(Val::U32),
            Int::S64 => i64::try_from(number).map(Val::S64),
            Int::U64 => u64::try_from(number).map(Val::U64),
        };
        val.map_err(|_| self.wrong(&Shape::Int(int), &value, &format!("it is not from {least} to {greatest}")))
    }

    fn float<F: From<f32> + Copy + Into<f64>>(
        &self,
        shape: &Shape,
        value: Value,
        round: impl Fn(f64) -> F,
    ) -> Result<F> {
        match &value {
            Value::Number(number) => {
                let rounded = number.as_f64().map(round).filter(|rounded| (*rounded).into().is_finite());
                rounded.ok_or_else(|| self.wrong(shape, &value, "it is out of range"))
            }
            Value::String(name) => match name.as_str() {
                "NaN" => Ok(F::from(f32::NAN)),
                "Infinity" => Ok(F::from(f32::INFINITY)),
                "-Infinity" => Ok(F::from(f32::NEG_INFINITY)),
                _ => Err(self.wrong(
                    shape,
                    &value,
                    "of strings only \"NaN\", \"Infinity\" and \"-Infinity\" are numbers",
                )),
            },
            _ => Err(self.wrong(shape, &value, "it is no number")),
        }
    }

    fn bytes(&mut self, shape: &Shape, len: Option<u32>, value: Value) -> Result<Val> {
        let items = if let Some(blob) = self.blobs.blob(&value) {
            let blob = blob.clone();
            self.weigh_bytes(usize::try_from(blob.size()).unwrap_or(usize::MAX))?;
            let failed = |error: PluginError| {
                let message = format!("the argument at {}: {}", Pointer(&self.path), error.message());
                PluginError::new(error.code(), message)
            };
            vals(blobs::read_all(&blob).map_err(failed)?)
        } else {
            match value {
                Value::String(encoded) => {
                    self.weigh_bytes(encoded.len() / 4 * 3)?;
                    let decoded = BASE64.decode(&encoded);
                    let wrong = |error| format!("it is not base64: {error}");
                    vals(decoded.map_err(|error| self.wrong(shape, &Value::String(encoded), &wrong(error)))?)
                }
                Value::Array(values) => {
                    self.items(values, |reader, step, value| reader.within(step, &Shape::Int(Int::U8), value))?
                }
                other => {
                    let what = "write base64, a blob or an array of numbers";
                    return Err(self.wrong(shape, &other, what));
                }
            }
        };
        self.length(shape, len, items.len())?;
        Ok(if len.is_some() { Val::FixedLengthList(items) } else { Val::List(items) })
    }

    fn map(&mut self, shape: &Shape, key: &Shape, value: &Shape, entries: Value) -> Result<Vec<(Val, Val)>> {
        match entries {
            Value::Object(object) if *key == Shape::String && !object.contains_key("$blob") => {
                let mut entries = Vec::new();
                for (name, item) in object {
                    self.charge(size_of::<Val>() + name.len())?;
                    let item = self.within(Step::Name(name.clone()), value, item)?;
                    entries.push((Val::String(unescape_key(name)), item));
                }
                Ok(entries)
            }
            Value::Array(pairs) if *key != Shape::String => {
                let mut entries = Vec::new();
                for (n, pair) in pairs.into_iter().enumerate() {
                    self.path.push(Step::Index(n));
                    let Ok([first, second]) = <[Value; 2]>::try_from(match pair {
                        Value::Array(pair) => pair,
                        _ => Vec::new(),
                    }) else {
                        return Err(self.error("is not a key and a value in an array of two".to_owned()));
                    };
                    let first = self.within(Step::Index(0), key, first)?;
                    entries.push((first, self.within(Step::Index(1), value, second)?));
                    self.path.pop();
                }
                Ok(entries)
            }
            other => {
                let form = if *key == Shape::String { "an object" } else { "an array of pairs" };
                Err(self.wrong(shape, &other, &format!("a map is written as {form}")))
            }
        }
    }

    fn fields(&mut self, fields: &[(String, Shape)], mut object: Map<String, Value>) -> Result<Vec<(String, Val)>> {
        let mut values = Vec::with_capacity(fields.len());
        for (name, shape) in fields {
            self.charge(name.len())?;
            // In no order that matters: what is left over is an error.
            let value = match (object.swap_remove(name), shape) {
                (Some(value), shape) => self.within(Step::Name(name.clone()), shape, value)?,
                (None, Shape::Option(_)) => Val::Option(None),
                (None, shape) => {
                    return Err(self.error(format!("has no field `{}` ({})", name, shown_shape(shape))));
                }
            };
            values.push((name.clone(), value));
        }
        match object.keys().next() {
            None => Ok(values),
            Some(unknown) => {
                let known = fields.iter().map(|(name, _)| name.as_str());
                Err(self
                    .error(format!("has a field `{}` that its type does not have", text::name(unknown)))
                    .with_help(format!("its fields are {}", listed(known))))
            }
        }
    }

    fn variant(&mut self, shape: &Shape, cases: &IndexMap<String, Option<Shape>>, value: Value) -> Result<Val> {
        let names = || cases.keys().map(String::as_str);
        let (name, value) = match only(value) {
            Ok((name, value)) => (name, Some(value)),
            Err(Value::String(name)) => (name, None),
            Err(other) => return Err(self.wrong(shape, &other, "write \"case\", or {\"case\": value}")),
        };
        let Some(carried) = cases.get(&name) else {
            return Err(self.unknown(&name, "case", names()));
        };
        self.charge(name.len())?;
        match (carried, value) {
            (None, None) => Ok(Val::Variant(name, None)),
            (Some(shape), Some(value)) => {
                let value = self.within(Step::Name(name.clone()), shape, value)?;
                Ok(Val::Variant(name, Some(Box::new(value))))
            }
            (Some(shape), None) => {
                Err(self.error(format!("is the case `{name}` without its value ({})", shown_shape(shape))))
            }
            (None, Some(_)) => Err(self.error(format!("gives the case `{name}` a value, and it has none"))),
        }
    }

    fn flags(&mut self, shape: &Shape, names: &IndexSet<String>, values: Vec<Value>) -> Result<Vec<String>> {
        let mut set = Vec::new();
        for value in values {
            let Value::String(name) = value else {
                return Err(self.wrong(shape, &value, "flags are an array of names"));
            };
            self.known(shape, names, &name)?;
            if !set.contains(&name) {
                self.charge(size_of::<String>() + name.len())?;
                set.push(name);
            }
        }
        Ok(set)
    }

    fn known(&self, shape: &Shape, names: &IndexSet<String>, name: &str) -> Result<()> {
        if names.contains(name) {
            return Ok(());
        }
        let what = if matches!(shape, Shape::Flags(_)) { "flag" } else { "case" };
        Err(self.unknown(name, what, names.iter().map(String::as_str)))
    }

    /// What a case carries; `null` stands for nothing.
    fn carried(&mut self, name: &'static str, shape: Option<&Shape>, value: Value) -> Result<Option<Box<Val>>> {
        match (shape, value) {
            (Some(shape), value) => Ok(Some(Box::new(self.within(Step::Name(name.to_owned()), shape, value)?))),
            (None, Value::Null) => Ok(None),
            (None, _) => Err(self.error(format!("gives `{name}` a value, and it has none: write null"))),
        }
    }

    /// The one key of an object, which must be one of these, and its value.
    fn tagged(&self, shape: &Shape, value: Value, names: &[&'static str]) -> Result<(&'static str, Value)> {
        let forms = || names.iter().map(|name| format!("{{\"{name}\": …}}")).collect::<Vec<_>>().join(" or ");
        match only(value) {
            Ok((key, value)) => match names.iter().find(|name| **name == key) {
                Some(name) => Ok((name, value)),
                None => Err(self.error(format!("is a {} and not {}", shown_shape(shape), forms()))),
            },
            Err(other) => Err(self.wrong(shape, &other, &format!("write {}", forms()))),
        }
    }

    fn items(
        &mut self,
        values: Vec<Value>,
        mut read: impl FnMut(&mut Self, Step, Value) -> Result<Val>,
    ) -> Result<Vec<Val>> {
        values.into_iter().enumerate().map(|(n, value)| read(self, Step::Index(n), value)).collect()
    }

    fn length(&self, shape: &Shape, len: Option<u32>, found: usize) -> Result<()> {
        match len {
            Some(len) if found != len as usize => {
                let shape = shown_shape(shape);
                Err(self.error(format!("has {found} items, and {shape} has {len}")))
            }
            _ => Ok(()),
        }
    }

    fn weigh_bytes(&mut self, len: usize) -> Result<()> {
        self.charge(len.saturating_mul(size_of::<Val>()))
    }

    fn charge(&mut self, bytes: usize) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(PluginError::resource_exhausted(format!(
                "the arguments take more than {} MiB as component values: each is {} bytes, a byte of a list too",
                self.limit >> 20,
                size_of::<Val>()
            ))
            .with_help("hand large data over in pieces, or raise `limits.payload_mb` in the plugin's manifest")),
        }
    }

    /// What is wrong with the value at the present place.
    fn error(&self, what: String) -> PluginError {
        PluginError::invalid_input(format!("the argument at {} {what}", Pointer(&self.path)))
    }

    fn wrong(&self, shape: &Shape, value: &Value, why: &str) -> PluginError {
        self.error(format!("is {}, which is no {}: {why}", shown(value), shown_shape(shape)))
    }

    fn unknown<'a>(&self, name: &str, what: &str, known: impl Iterator<Item = &'a str>) -> PluginError {
        self.error(format!("names the {what} `{}` that its type does not have", text::name(name)))
            .with_help(format!("its {what}s are {}", listed(known)))
    }
}

/// The key and the value of an object that has one key.
fn only(value: Value) -> Result<(String, Value), Value> {
    match value {
        Value::Object(object) if object.len() == 1 => object.into_iter().next().ok_or(Value::Null),
        other => Err(other),
    }
}

fn vals(bytes: Vec<u8>) -> Vec<Val> {
    bytes.into_iter().map(Val::U8).collect()
}

/// A whole number, as long as it says exactly which one it is.
fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    // 3.0, or 1e6: exact up to here only.
    let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and a cast of what is too large is too large")]
    let whole = number as i128;
    (-MAX_EXACT..=MAX_EXACT).contains(&whole).then_some(whole)
}

/// A value in a message: its beginning.
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

/// A JSON Pointer (RFC 6901) of the way to a value.
struct Pointer<'a>(&'a [Step]);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0 {
            match step {
                Step::Name(name) => write!(f, "/{}", text::name(&name.replace('~', "~0").replace('/', "~1")))?,
                Step::Index(n) => write!(f, "/{n}")?,
            }
        }
        Ok(())
    }
}
