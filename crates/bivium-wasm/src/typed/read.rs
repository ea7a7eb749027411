//! Reads JSON into component values.
//!
//! Values come from a caller. Each is checked against its type before the guest sees any of them, and an error names the place, the type
//! and the value. They are laid out as in the component's memory ([`Image`]). Memory is counted before it is allocated: for a list as a
//! whole, with fields that its items leave out.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bivium_instances::document::Pace;
use bivium_instances::document::cost::{self, Budget};
use bivium_interface::{Payload, PluginError, Result, unescape_key};
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Number, Value};

use super::image::{self, Data, Image};
use super::layout::{Places, discriminant};
use super::numbers::{AT_ONCE, MAX_EXACT, whole};
use super::shape::{Int, Part, Shape, frame};
use super::shown::{Pointer, Step, listed, shown, shown_shape};
use crate::capability::blobs;
use crate::text;

/// Padding is optional, since many encoders omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the values of one call.
pub(crate) struct Reader<'a> {
    /// The blobs that `{"$blob": n}` names.
    blobs: Payload,
    image: Image,
    budget: Budget,
    pace: Pace,
    path: Vec<Step<'a>>,
}

/// The place of a value: a block of the image, and the offset in it.
#[derive(Clone, Copy)]
pub(super) struct MemoryPlace {
    block: usize,
    at: usize,
}

impl MemoryPlace {
    /// The place of an argument.
    pub(super) fn argument(at: usize) -> Self {
        Self { block: image::ROOT, at }
    }

    fn plus(self, offset: usize) -> Self {
        Self { at: self.at + offset, ..self }
    }
}

impl<'a> Reader<'a> {
    /// A reader for arguments of these types. `limit` is how many bytes all values together may take on the host.
    pub(super) fn new(params: &[(String, Part)], blobs: Payload, limit: usize, pace: Pace) -> Result<Self> {
        let frame = frame(params.iter().map(|(_, part)| part));
        let size = frame.size32 as usize;
        let (image, budget) = (Image::new(0, 1), Budget::new(limit));
        let mut reader = Self { blobs, image, budget, pace, path: Vec::new() };
        reader.charge(cost::heap(size))?;
        reader.image = Image::new(size, frame.align32);
        Ok(reader)
    }

    pub(super) fn finish(self) -> Image {
        self.image
    }

    /// The bytes that have been counted.
    pub(super) fn taken(&self) -> usize {
        self.budget.taken()
    }

    /// Reads the argument `name`, which is its name or its position.
    pub(super) fn argument(&mut self, name: Cow<'a, str>, part: &'a Part, value: Value, to: MemoryPlace) -> Result<()> {
        self.within(Step::Name(name), part, value, to)
    }

    fn within(&mut self, step: Step<'a>, part: &'a Part, value: Value, to: MemoryPlace) -> Result<()> {
        self.path.push(step);
        let read = self.read(part, value, to);
        self.path.pop();
        read
    }

    fn read(&mut self, part: &'a Part, value: Value, to: MemoryPlace) -> Result<()> {
        self.pace.step()?;
        match (&**part, value) {
            (Shape::Bool, Value::Bool(value)) => self.put(to, &[value.into()]),
            (Shape::Int(int), value) => self.int(*int, &value, to)?,
            (Shape::F32, value) => {
                let number: f32 = self.float(part, &value, |number| {
                    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
                    let number = number as f32;
                    number
                })?;
                self.put(to, &number.to_le_bytes());
            }
            (Shape::F64, value) => {
                let number: f64 = self.float(part, &value, |number| number)?;
                self.put(to, &number.to_le_bytes());
            }
            (Shape::Char, Value::String(value)) => {
                let mut chars = value.chars();
                match (chars.next(), chars.next()) {
                    (Some(one), None) => self.put(to, &u32::from(one).to_le_bytes()),
                    _ => return Err(self.wrong(part, &Value::String(value), "it is not one character")),
                }
            }
            (Shape::String, Value::String(value)) => self.text(value, to)?,
            (Shape::Bytes(len), value) => self.bytes(part, *len, value, to)?,
            (Shape::List(item, len), Value::Array(values)) => {
                self.length(part, *len, values.len())?;
                let first = match len {
                    Some(_) => to,
                    None => self.block(to, values.len(), item.size(), item.align())?,
                };
                if item.is_number() {
                    return self.numbers(item, values, first);
                }
                for (n, value) in values.into_iter().enumerate() {
                    self.within(Step::Index(n), item, value, first.plus(n * item.size()))?;
                }
            }
            (Shape::Map(key, value), entries) => self.map(part, key, value, entries, to)?,
            (Shape::Tuple(parts), Value::Array(values)) => {
                self.length(part, u32::try_from(parts.len()).ok(), values.len())?;
                let mut places = Places::from(to.at);
                for (n, (part, value)) in parts.iter().zip(values).enumerate() {
                    self.within(Step::Index(n), part, value, MemoryPlace { at: places.next(part), ..to })?;
                }
            }
            (Shape::Record(fields), Value::Object(object)) => self.fields(fields, object, to)?,
            (Shape::Variant(cases), value) => self.variant(part, cases, value, to)?,
            (Shape::Enum(names), Value::String(name)) => {
                let case = self.known(part, names, &name)?;
                self.case(to, names.len(), case);
            }
            (Shape::Flags(names), Value::Array(values)) => self.flags(part, names, values, to)?,
            // The zeros that are there already mean none.
            (Shape::Option(_), Value::Null) => {}
            (Shape::Option(some), value) => {
                self.case(to, 2, 1);
                let to = to.plus(part.carried_at());
                if some.may_be_null() {
                    let (_, value) = self.tagged(part, value, &["some"])?;
                    self.within(Step::Name("some".into()), some, value, to)?;
                } else {
                    self.read(some, value, to)?;
                }
            }
            (Shape::Result(ok, err), value) => {
                let (name, value) = self.tagged(part, value, &["ok", "err"])?;
                let is_ok = name == "ok";
                self.case(to, 2, usize::from(!is_ok));
                let carried = if is_ok { ok } else { err }.as_deref();
                match (carried, value) {
                    (Some(carried), value) => {
                        self.within(Step::Name(name.into()), carried, value, to.plus(part.carried_at()))?;
                    }
                    // `null` stands for nothing.
                    (None, Value::Null) => {}
                    (None, _) => return Err(self.error(format!("gives `{name}` a value, but it has none: write null"))),
                }
            }
            (_, value) => return Err(self.wrong(part, &value, "it is of another type")),
        }
        Ok(())
    }

    /// Reads the items of a list of numbers: plain numbers together, and from the first other value on one by one.
    fn numbers(&mut self, item: &'a Part, values: Vec<Value>, first: MemoryPlace) -> Result<()> {
        let size = item.size();
        // The number of items at the beginning that are plain numbers of this type.
        let plain = match &**item {
            Shape::Int(Int::U8) => self.plain(&values, first, |n| u8::try_from(n.as_u64()?).ok().map(u8::to_le_bytes)),
            Shape::Int(Int::U16) => {
                self.plain(&values, first, |n| u16::try_from(n.as_u64()?).ok().map(u16::to_le_bytes))
            }
            Shape::Int(Int::U32) => {
                self.plain(&values, first, |n| u32::try_from(n.as_u64()?).ok().map(u32::to_le_bytes))
            }
            Shape::Int(Int::U64) => self.plain(&values, first, |n| n.as_u64().map(u64::to_le_bytes)),
            Shape::Int(Int::S8) => self.plain(&values, first, |n| i8::try_from(n.as_i64()?).ok().map(i8::to_le_bytes)),
            Shape::Int(Int::S16) => {
                self.plain(&values, first, |n| i16::try_from(n.as_i64()?).ok().map(i16::to_le_bytes))
            }
            Shape::Int(Int::S32) => {
                self.plain(&values, first, |n| i32::try_from(n.as_i64()?).ok().map(i32::to_le_bytes))
            }
            Shape::Int(Int::S64) => self.plain(&values, first, |n| n.as_i64().map(i64::to_le_bytes)),
            Shape::F32 => self.plain(&values, first, |n| {
                #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
                let number = n.as_f64()? as f32;
                number.is_finite().then(|| number.to_le_bytes())
            }),
            Shape::F64 => self.plain(&values, first, |n| n.as_f64().filter(|n| n.is_finite()).map(f64::to_le_bytes)),
            _ => Ok(0),
        }?;
        for (n, value) in values.into_iter().enumerate().skip(plain) {
            self.within(Step::Index(n), item, value, first.plus(n * size))?;
        }
        Ok(())
    }

    /// Lays out numbers of `N` bytes, up to the first item that is not one; returns how many there are.
    fn plain<const N: usize>(
        &mut self,
        values: &[Value],
        first: MemoryPlace,
        number: impl Fn(&Number) -> Option<[u8; N]>,
    ) -> Result<usize> {
        let places = self.image.bytes_from(first.block, first.at).as_chunks_mut::<N>().0;
        let mut count = 0;
        for (values, places) in values.chunks(AT_ONCE).zip(places.chunks_mut(AT_ONCE)) {
            self.pace.steps(values.len())?;
            for (value, place) in values.iter().zip(places) {
                let Value::Number(value) = value else { return Ok(count) };
                let Some(bytes) = number(value) else { return Ok(count) };
                *place = bytes;
                count += 1;
            }
        }
        Ok(count)
    }

    fn put(&mut self, to: MemoryPlace, bytes: &[u8]) {
        self.image.put(to.block, to.at, bytes);
    }

    /// Writes the discriminant of a case.
    fn case(&mut self, to: MemoryPlace, cases: usize, case: usize) {
        let bytes = u32::try_from(case).unwrap_or(u32::MAX).to_le_bytes();
        self.put(to, bytes.get(..discriminant(cases)).unwrap_or_default());
    }

    /// Adds a block for this many items, to which `to` will point.
    fn block(&mut self, to: MemoryPlace, items: usize, size: usize, align: u32) -> Result<MemoryPlace> {
        let bytes = items.saturating_mul(size);
        self.charge(cost::heap(bytes).saturating_add(image::BLOCK))?;
        let block = self.image.add(to.block, to.at, items, align, Data::Bytes(vec![0; bytes]));
        Ok(MemoryPlace { block, at: 0 })
    }

    fn text(&mut self, text: String, to: MemoryPlace) -> Result<()> {
        self.charge(cost::heap(text.len()).saturating_add(image::BLOCK))?;
        self.image.add(to.block, to.at, text.len(), 1, Data::Text(text));
        Ok(())
    }

    fn int(&mut self, int: Int, value: &Value, to: MemoryPlace) -> Result<()> {
        let (_, least, greatest) = int.range();
        let number = match value {
            Value::Number(number) => whole(number),
            // Large numbers are written as strings, so that the result of one call can be the argument of another.
            Value::String(digits) if greatest > MAX_EXACT => digits.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| {
            let or_text = if greatest > MAX_EXACT { ", also not one as a string" } else { "" };
            self.wrong(&Shape::Int(int), value, &format!("it is not a whole number{or_text}"))
        })?;
        if !(least..=greatest).contains(&number) {
            return Err(self.wrong(&Shape::Int(int), value, &format!("it is not from {least} to {greatest}")));
        }
        // It is in range, so the bytes that are cut off have no meaning.
        let bytes = number.to_le_bytes();
        self.put(to, bytes.get(..int.size()).unwrap_or_default());
        Ok(())
    }

    fn float<F: From<f32> + Copy + Into<f64>>(
        &self,
        shape: &Shape,
        value: &Value,
        round: impl Fn(f64) -> F,
    ) -> Result<F> {
        match value {
            Value::Number(number) => {
                let rounded = number.as_f64().map(round).filter(|rounded| (*rounded).into().is_finite());
                rounded.ok_or_else(|| self.wrong(shape, value, "it is out of range"))
            }
            Value::String(name) => match name.as_str() {
                "NaN" => Ok(F::from(f32::NAN)),
                "Infinity" => Ok(F::from(f32::INFINITY)),
                "-Infinity" => Ok(F::from(f32::NEG_INFINITY)),
                _ => Err(self.wrong(
                    shape,
                    value,
                    "only the strings \"NaN\", \"Infinity\" and \"-Infinity\" are numbers",
                )),
            },
            _ => Err(self.wrong(shape, value, "it is not a number")),
        }
    }

    fn bytes(&mut self, part: &'a Part, len: Option<u32>, value: Value, to: MemoryPlace) -> Result<()> {
        let bytes = if let Some(blob) = self.blobs.blob(&value) {
            let blob = blob.clone();
            self.charge(cost::heap(usize::try_from(blob.size()).unwrap_or(usize::MAX)))?;
            self.pace.look()?;
            let failed = |error: PluginError| {
                let message = format!("the argument at {}: {}", Pointer(&self.path), error.message());
                PluginError::new(error.code(), message)
            };
            blobs::read_all(&blob).map_err(failed)?
        } else {
            match value {
                Value::String(encoded) => {
                    self.charge(cost::heap(encoded.len()))?;
                    let decoded = BASE64.decode(&encoded);
                    let wrong = |error| format!("it is not base64: {error}");
                    decoded.map_err(|error| self.wrong(part, &Value::String(encoded), &wrong(error)))?
                }
                Value::Array(values) => {
                    self.charge(cost::heap(values.len()))?;
                    let mut bytes = Vec::with_capacity(values.len());
                    for (n, value) in values.into_iter().enumerate() {
                        self.pace.step()?;
                        match value.as_u64().and_then(|number| u8::try_from(number).ok()) {
                            Some(byte) => bytes.push(byte),
                            // A whole number in another form, or an error that says why it is not one.
                            None => bytes.push(self.byte(n, &value)?),
                        }
                    }
                    bytes
                }
                other => {
                    let what = "write base64, a blob or an array of numbers";
                    return Err(self.wrong(part, &other, what));
                }
            }
        };
        self.length(part, len, bytes.len())?;
        if len.is_some() {
            self.put(to, &bytes);
        } else {
            self.charge(image::BLOCK)?;
            self.image.add(to.block, to.at, bytes.len(), 1, Data::Bytes(bytes));
        }
        Ok(())
    }

    fn byte(&mut self, n: usize, value: &Value) -> Result<u8> {
        let number = match value {
            Value::Number(number) => whole(number).and_then(|number| u8::try_from(number).ok()),
            _ => None,
        };
        number.ok_or_else(|| {
            self.path.push(Step::Index(n));
            self.wrong(&Shape::Int(Int::U8), value, "it is not a whole number from 0 to 255")
        })
    }

    fn map(&mut self, part: &'a Part, key: &'a Part, value: &'a Part, entries: Value, to: MemoryPlace) -> Result<()> {
        let mut places = Places::from(0);
        let value_at = {
            places.next(key);
            places.next(value)
        };
        let entry = frame([key, value].into_iter());
        let size = entry.size32 as usize;
        match entries {
            Value::Object(object) if **key == Shape::String && !object.contains_key("$blob") => {
                let first = self.block(to, object.len(), size, entry.align32)?;
                for (n, (name, item)) in object.into_iter().enumerate() {
                    let to = first.plus(n * size);
                    self.charge(cost::heap(name.len()))?;
                    self.text(unescape_key(name.clone()), to)?;
                    self.within(Step::Name(name.into()), value, item, to.plus(value_at))?;
                }
                Ok(())
            }
            Value::Array(pairs) if **key != Shape::String => {
                let first = self.block(to, pairs.len(), size, entry.align32)?;
                for (n, pair) in pairs.into_iter().enumerate() {
                    self.path.push(Step::Index(n));
                    let Ok([one, other]) = <[Value; 2]>::try_from(match pair {
                        Value::Array(pair) => pair,
                        _ => Vec::new(),
                    }) else {
                        return Err(self.error("is not a key and a value in an array of two".to_owned()));
                    };
                    let to = first.plus(n * size);
                    self.within(Step::Index(0), key, one, to)?;
                    self.within(Step::Index(1), value, other, to.plus(value_at))?;
                    self.path.pop();
                }
                Ok(())
            }
            other => {
                let form = if **key == Shape::String { "an object" } else { "an array of pairs" };
                Err(self.wrong(part, &other, &format!("a map is written as {form}")))
            }
        }
    }

    fn fields(&mut self, fields: &'a [(String, Part)], mut object: Map<String, Value>, to: MemoryPlace) -> Result<()> {
        if object.is_empty() && fields.iter().all(|(_, part)| part.may_be_null()) {
            // All fields are none, which the zeros that are there already mean.
            return self.pace.steps(fields.len());
        }
        let mut places = Places::from(to.at);
        for (name, part) in fields {
            let at = places.next(part);
            // The order does not matter; a field that is left over is an error.
            match (object.swap_remove(name), &**part) {
                (Some(value), _) => {
                    self.within(Step::Name(name.into()), part, value, MemoryPlace { at, ..to })?;
                }
                // The zeros that are there already mean none.
                (None, Shape::Option(_)) => self.pace.step()?,
                (None, shape) => {
                    return Err(self.error(format!("has no field `{}` ({})", name, shown_shape(shape))));
                }
            }
        }
        match object.keys().next() {
            None => Ok(()),
            Some(unknown) => {
                let known = fields.iter().map(|(name, _)| name.as_str());
                Err(self
                    .error(format!("has a field `{}` that its type does not have", text::name(unknown)))
                    .with_help(format!("its fields are {}", listed(known))))
            }
        }
    }

    fn variant(
        &mut self,
        part: &'a Part,
        cases: &'a IndexMap<String, Option<Part>>,
        value: Value,
        to: MemoryPlace,
    ) -> Result<()> {
        let (name, value) = match only(value) {
            Ok((name, value)) => (name, Some(value)),
            Err(Value::String(name)) => (name, None),
            Err(other) => return Err(self.wrong(part, &other, "write \"case\", or {\"case\": value}")),
        };
        let Some((case, name, carried)) = cases.get_full(&name) else {
            return Err(self.unknown(&name, "case", cases.keys().map(String::as_str)));
        };
        self.case(to, cases.len(), case);
        match (carried, value) {
            (None, None) => Ok(()),
            (Some(carried), Some(value)) => {
                self.within(Step::Name(name.into()), carried, value, to.plus(part.carried_at()))
            }
            (Some(carried), None) => {
                Err(self.error(format!("is the case `{name}` without its value ({})", shown_shape(carried))))
            }
            (None, Some(_)) => Err(self.error(format!("gives the case `{name}` a value, but it has none"))),
        }
    }

    fn flags(&mut self, part: &'a Part, names: &IndexSet<String>, values: Vec<Value>, to: MemoryPlace) -> Result<()> {
        // One bit for each name, in the order of the bytes of each word.
        let mut bits = vec![0_u8; part.size()];
        for value in values {
            self.pace.step()?;
            let Value::String(name) = value else {
                return Err(self.wrong(part, &value, "flags are an array of names"));
            };
            let n = self.known(part, names, &name)?;
            if let Some(byte) = bits.get_mut(n / 8) {
                *byte |= 1 << (n % 8);
            }
        }
        self.put(to, &bits);
        Ok(())
    }

    fn known(&self, shape: &Shape, names: &IndexSet<String>, name: &str) -> Result<usize> {
        if let Some(n) = names.get_index_of(name) {
            return Ok(n);
        }
        let what = if matches!(shape, Shape::Flags(_)) { "flag" } else { "case" };
        Err(self.unknown(name, what, names.iter().map(String::as_str)))
    }

    /// The only key of an object, which must be one of these, and its value.
    fn tagged(&self, shape: &Shape, value: Value, names: &[&'static str]) -> Result<(&'static str, Value)> {
        let forms = || names.iter().map(|name| format!("{{\"{name}\": …}}")).collect::<Vec<_>>().join(" or ");
        match only(value) {
            Ok((key, value)) => match names.iter().find(|name| **name == key) {
                Some(name) => Ok((name, value)),
                None => Err(self.error(format!("is a {}, but not written as {}", shown_shape(shape), forms()))),
            },
            Err(other) => Err(self.wrong(shape, &other, &format!("write {}", forms()))),
        }
    }

    fn length(&self, shape: &Shape, len: Option<u32>, found: usize) -> Result<()> {
        match len {
            Some(len) if found != len as usize => {
                let shape = shown_shape(shape);
                Err(self.error(format!("has {found} items, but {shape} has {len}")))
            }
            _ => Ok(()),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.budget.take(bytes).map_err(|_| {
            PluginError::resource_exhausted(format!(
                "the arguments take more than {} MiB as component values, over what `limits.memory_mb` and \
                 `limits.payload_mb` allow together",
                self.budget.limit() >> 20
            ))
            .with_help("pass large data in pieces, or raise `limits.memory_mb` in the plugin's manifest")
        })
    }

    /// The error for the value at the current place.
    fn error(&self, what: String) -> PluginError {
        PluginError::invalid_input(format!("the argument at {} {what}", Pointer(&self.path)))
    }

    fn wrong(&self, shape: &Shape, value: &Value, why: &str) -> PluginError {
        self.error(format!("is {}, which is not of type {}: {why}", shown(value), shown_shape(shape)))
    }

    fn unknown<'n>(&self, name: &str, what: &str, known: impl Iterator<Item = &'n str>) -> PluginError {
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
