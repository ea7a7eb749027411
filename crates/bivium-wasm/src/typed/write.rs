//! Component values to JSON.
//!
//! Values are a guest's. The engine has checked their types; their amount is bounded by what it lifts at once, and the
//! JSON that is made of them by the payload's limit, while it is being made. Bytes stand in the JSON as base64 as long
//! as they are few, else as a blob.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bivium_interface::{Payload, escape_key};
use serde_json::{Map, Number, Value, json};
use wasmtime::component::Val;

use super::read::MAX_EXACT;
use super::shape::Shape;

/// The longest `list<u8>` that stands in the JSON itself.
pub(super) const MAX_INLINE: usize = 16 << 10;

/// Writes the values of one result.
pub(crate) struct Writer {
    /// Bytes for the blobs that the JSON names, in their order.
    pub(super) blobs: Vec<Vec<u8>>,
    max_inline: usize,
    /// Bytes of JSON that may still be written.
    left: usize,
}

/// Why a value was not written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// It is more JSON than may be.
    TooLong,
    /// It is of another type than its function's.
    Mismatch,
}

impl Writer {
    /// Writes at most `limit` bytes of JSON.
    pub(crate) fn new(limit: usize) -> Self {
        Self { blobs: Vec::new(), max_inline: MAX_INLINE, left: limit }
    }

    /// Writes all bytes into the JSON.
    pub(crate) fn without_blobs(limit: usize) -> Self {
        Self { max_inline: usize::MAX, ..Self::new(limit) }
    }

    /// What stands for `val`. Its text is at least as long as what is counted on the way.
    pub(crate) fn write(&mut self, shape: &Shape, val: Val) -> Result<Value, Unwritten> {
        // A character and a comma.
        self.charge(2)?;
        Ok(match (shape, val) {
            (Shape::Bool, Val::Bool(value)) => value.into(),
            (Shape::Int(_), Val::S8(value)) => value.into(),
            (Shape::Int(_), Val::U8(value)) => value.into(),
            (Shape::Int(_), Val::S16(value)) => value.into(),
            (Shape::Int(_), Val::U16(value)) => value.into(),
            (Shape::Int(_), Val::S32(value)) => value.into(),
            (Shape::Int(_), Val::U32(value)) => value.into(),
            (Shape::Int(_), Val::S64(value)) if i128::from(value).abs() <= MAX_EXACT => value.into(),
            (Shape::Int(_), Val::U64(value)) if i128::from(value) <= MAX_EXACT => value.into(),
            (Shape::Int(_), Val::S64(value)) => value.to_string().into(),
            (Shape::Int(_), Val::U64(value)) => value.to_string().into(),
            (Shape::F32, Val::Float32(value)) => of_f32(value),
            (Shape::F64, Val::Float64(value)) => of_f64(value),
            (Shape::Char, Val::Char(value)) => value.to_string().into(),
            (Shape::String, Val::String(value)) => {
                self.charge(value.len())?;
                value.into()
            }
            (Shape::Bytes(_), Val::List(items) | Val::FixedLengthList(items)) => self.bytes(items)?,
            (Shape::List(item, _), Val::List(items) | Val::FixedLengthList(items)) => {
                Value::Array(items.into_iter().map(|val| self.write(item, val)).collect::<Result<_, _>>()?)
            }
            (Shape::Map(key, value), Val::Map(entries)) => self.map(key, value, entries)?,
            (Shape::Tuple(shapes), Val::Tuple(items)) if shapes.len() == items.len() => {
                let items = shapes.iter().zip(items).map(|(shape, val)| self.write(shape, val));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            (Shape::Record(shapes), Val::Record(fields)) if shapes.len() == fields.len() => {
                let fields = shapes.iter().zip(fields).map(|((name, shape), (_, val))| {
                    self.charge(name.len() + 3)?;
                    Ok((name.clone(), self.write(shape, val)?))
                });
                Value::Object(fields.collect::<Result<_, _>>()?)
            }
            (Shape::Variant(cases), Val::Variant(name, carried)) => {
                self.charge(name.len())?;
                match (cases.get(&name), carried) {
                    (Some(None), None) => name.into(),
                    (Some(Some(shape)), Some(val)) => tagged(&name, self.write(shape, *val)?),
                    _ => return Err(Unwritten::Mismatch),
                }
            }
            (Shape::Enum(_), Val::Enum(name)) => {
                self.charge(name.len())?;
                name.into()
            }
            (Shape::Flags(_), Val::Flags(names)) => {
                self.charge(names.iter().map(|name| name.len() + 3).sum())?;
                names.into_iter().collect()
            }
            (Shape::Option(_), Val::Option(None)) => Value::Null,
            (Shape::Option(some), Val::Option(Some(val))) => {
                let value = self.write(some, *val)?;
                if some.may_be_null() { tagged("some", value) } else { value }
            }
            (Shape::Result(ok, _), Val::Result(Ok(val))) => tagged("ok", self.carried(ok.as_deref(), val)?),
            (Shape::Result(_, err), Val::Result(Err(val))) => tagged("err", self.carried(err.as_deref(), val)?),
            _ => return Err(Unwritten::Mismatch),
        })
    }

    /// What a case carries; `null` where it carries nothing.
    pub(super) fn carried(&mut self, shape: Option<&Shape>, val: Option<Box<Val>>) -> Result<Value, Unwritten> {
        match (shape, val) {
            (Some(shape), Some(val)) => self.write(shape, *val),
            (None, None) => Ok(Value::Null),
            _ => Err(Unwritten::Mismatch),
        }
    }

    fn bytes(&mut self, items: Vec<Val>) -> Result<Value, Unwritten> {
        let bytes = items.into_iter().map(|val| match val {
            Val::U8(byte) => Ok(byte),
            _ => Err(Unwritten::Mismatch),
        });
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
        if bytes.len() > self.max_inline {
            self.blobs.push(bytes);
            return Ok(Payload::reference(self.blobs.len() - 1));
        }
        self.charge(bytes.len().div_ceil(3).saturating_mul(4))?;
        Ok(STANDARD.encode(bytes).into())
    }

    fn map(&mut self, key: &Shape, value: &Shape, entries: Vec<(Val, Val)>) -> Result<Value, Unwritten> {
        if *key != Shape::String {
            let pairs = entries
                .into_iter()
                .map(|(first, second)| Ok(json!([self.write(key, first)?, self.write(value, second)?])));
            return Ok(Value::Array(pairs.collect::<Result<_, _>>()?));
        }
        let mut object = Map::new();
        for (name, val) in entries {
            let Val::String(name) = name else { return Err(Unwritten::Mismatch) };
            self.charge(name.len() + 3)?;
            // Of entries with the same key the last one counts, as in the component model.
            object.insert(escape_key(name), self.write(value, val)?);
        }
        Ok(Value::Object(object))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Unwritten> {
        self.left = self.left.checked_sub(bytes).ok_or(Unwritten::TooLong)?;
        Ok(())
    }
}

fn tagged(name: &str, value: Value) -> Value {
    json!({name: value})
}

fn of_f64(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// The shortest number that rounds to this one: 0.1, not 0.10000000149011612.
fn of_f32(value: f32) -> Value {
    let short = value.to_string().parse::<f64>().ok();
    #[expect(clippy::cast_possible_truncation, reason = "that it rounds back is what is asked")]
    let short = short.filter(|short| (*short as f32).to_bits() == value.to_bits());
    of_f64(short.unwrap_or(value.into()))
}
