//! Writes component values as JSON.
//!
//! Values come from a guest and are read where they lie in its memory; nothing is trusted before it is checked. One pass makes only the
//! JSON. Its memory in the host, and the length of its text, are counted before it is made. A few bytes are written as base64, more as a
//! blob.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bivium_instances::document::cost::{self, Budget, OverBudget};
use bivium_instances::document::{DocumentLimits, Pace, in_place};
use bivium_interface::{Payload, PluginError, escape_key};
use indexmap::IndexSet;
use serde_json::{Map, Number, Value};

use super::layout::{Places, discriminant};
use super::memory::{Broken, GuestMemory};
use super::numbers::{AT_ONCE, MAX_EXACT};
use super::shape::{Int, Part, Shape, frame};

/// The longest `list<u8>` that is written into the JSON itself.
pub(super) const MAX_INLINE: usize = 16 << 10;

/// Writes the values of one result.
pub(super) struct Writer<'a> {
    memory: GuestMemory<'a>,
    /// Bytes for the blobs that the JSON names, in their order.
    pub(super) blobs: Vec<Vec<u8>>,
    max_inline: usize,
    /// The budget of the JSON's text.
    text: Budget,
    /// The budget of the host's memory.
    budget: Budget,
    pace: Pace,
    /// Whether another thread has taken over this thread's tasks.
    aside: bool,
}

/// Why a value was not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The text is longer than the limit.
    TooLong,
    /// It takes more of the host's memory than the limit.
    TooLarge,
    /// The call is over.
    Over(PluginError),
    /// The bytes are not a value of the type.
    Broken(Broken),
}

impl From<OverBudget> for Unwritten {
    fn from(_: OverBudget) -> Self {
        Self::TooLarge
    }
}

impl From<PluginError> for Unwritten {
    fn from(error: PluginError) -> Self {
        Self::Over(error)
    }
}

impl From<Broken> for Unwritten {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

type Written = Result<Value, Unwritten>;

impl<'a> Writer<'a> {
    pub(super) fn new(memory: GuestMemory<'a>, limits: DocumentLimits, pace: Pace) -> Self {
        let (text, budget) = (Budget::new(limits.text), Budget::new(limits.held));
        Self { memory, blobs: Vec::new(), max_inline: MAX_INLINE, text, budget, pace, aside: false }
    }

    /// For a short text with all bytes inline.
    pub(super) fn inline(self, text: usize) -> Self {
        Self { max_inline: usize::MAX, text: Budget::new(text), ..self }
    }

    pub(super) fn memory(&self) -> GuestMemory<'a> {
        self.memory
    }

    pub(super) fn limits(&self) -> DocumentLimits {
        DocumentLimits { text: self.text.limit(), held: self.budget.limit() }
    }

    /// The counted bytes of the text, which has at least this many.
    pub(super) fn counted(&self) -> usize {
        self.text.taken()
    }

    /// The counted bytes of the host's memory.
    pub(super) fn taken(&self) -> usize {
        self.budget.taken()
    }

    /// The JSON of the value at this address.
    pub(super) fn write(&mut self, part: &Part, at: usize) -> Written {
        self.pace.step()?;
        // At least a character and a comma.
        self.count_text(2)?;
        Ok(match &**part {
            Shape::Bool => (self.memory.array::<1>(at)? != [0]).into(),
            Shape::Int(int) => self.int(*int, at)?,
            Shape::F32 => of_f32(f32::from_le_bytes(self.memory.array(at)?)),
            Shape::F64 => of_f64(f64::from_le_bytes(self.memory.array(at)?)),
            Shape::Char => {
                let one = char::from_u32(self.memory.u32(at)?).ok_or(Broken("a number that is not a character"))?;
                self.budget.take(cost::heap(one.len_utf8()))?;
                one.to_string().into()
            }
            Shape::String => Value::String(self.string(at)?),
            Shape::Bytes(None) => {
                let (start, len) = self.memory.list(at, 1, 1)?;
                self.bytes(self.memory.slice(start, len)?)?
            }
            Shape::Bytes(Some(len)) => self.bytes(self.memory.slice(at, *len as usize)?)?,
            Shape::List(item, None) => {
                let (start, len) = self.memory.list(at, item.size(), item.align())?;
                self.items(item, start, len)?
            }
            Shape::List(item, Some(len)) => self.items(item, at, *len as usize)?,
            Shape::Map(key, value) => self.map(key, value, at)?,
            Shape::Tuple(parts) => {
                let mut places = Places::from(at);
                let mut items = self.array(parts.len())?;
                for part in parts {
                    items.push(self.write(part, places.next(part))?);
                }
                Value::Array(items)
            }
            Shape::Record(fields) => {
                let mut places = Places::from(at);
                let mut object = self.object(fields.len())?;
                for (name, part) in fields {
                    let key = self.key(name)?;
                    object.insert(key, self.write(part, places.next(part))?);
                }
                Value::Object(object)
            }
            Shape::Variant(cases) => {
                let case = self.case(at, cases.len())?;
                let (name, carried) = cases.get_index(case).ok_or(NO_CASE)?;
                match carried {
                    None => self.name(name)?,
                    Some(carried) => self.tagged(name, Some(carried), at + part.carried_at())?,
                }
            }
            Shape::Enum(names) => {
                let case = self.case(at, names.len())?;
                self.name(names.get_index(case).ok_or(NO_CASE)?)?
            }
            Shape::Flags(names) => self.flags(names, self.memory.slice(at, part.size())?)?,
            Shape::Option(some) => match (self.case(at, 2)?, at + part.carried_at()) {
                (0, _) => Value::Null,
                (_, at) if some.may_be_null() => self.tagged("some", Some(some), at)?,
                (_, at) => self.write(some, at)?,
            },
            Shape::Result(ok, err) => {
                let (name, carried) = if self.case(at, 2)? == 0 { ("ok", ok) } else { ("err", err) };
                self.tagged(name, carried.as_deref(), at + part.carried_at())?
            }
        })
    }

    /// The case of a value with this many cases.
    pub(super) fn case(&self, at: usize, cases: usize) -> Result<usize, Broken> {
        let case = match discriminant(cases) {
            1 => u32::from(u8::from_le_bytes(self.memory.array(at)?)),
            2 => u32::from(u16::from_le_bytes(self.memory.array(at)?)),
            _ => self.memory.u32(at)?,
        } as usize;
        if case < cases { Ok(case) } else { Err(NO_CASE) }
    }

    fn int(&mut self, int: Int, at: usize) -> Written {
        let wide: i128 = match int {
            Int::S8 => return Ok(i8::from_le_bytes(self.memory.array(at)?).into()),
            Int::U8 => return Ok(u8::from_le_bytes(self.memory.array(at)?).into()),
            Int::S16 => return Ok(i16::from_le_bytes(self.memory.array(at)?).into()),
            Int::U16 => return Ok(u16::from_le_bytes(self.memory.array(at)?).into()),
            Int::S32 => return Ok(i32::from_le_bytes(self.memory.array(at)?).into()),
            Int::U32 => return Ok(self.memory.u32(at)?.into()),
            Int::S64 => i64::from_le_bytes(self.memory.array(at)?).into(),
            Int::U64 => u64::from_le_bytes(self.memory.array(at)?).into(),
        };
        match i64::try_from(wide) {
            Ok(number) if wide.abs() <= MAX_EXACT => Ok(number.into()),
            _ => {
                let digits = wide.to_string();
                self.name(&digits)
            }
        }
    }

    /// A string of the guest.
    pub(super) fn string(&mut self, at: usize) -> Result<String, Unwritten> {
        let text = self.memory.text(at)?;
        self.count_text(text.least())?;
        self.budget.take(cost::heap(text.most()))?;
        Ok(text.read()?)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Written {
        if bytes.len() > self.max_inline {
            // The list of blobs grows too.
            self.budget.take(cost::heap(bytes.len()).saturating_add(3 * size_of::<Vec<u8>>()))?;
            self.budget.take(cost::object(1).saturating_add(cost::heap("$blob".len())))?;
            self.pace.look()?;
            self.blobs.push(bytes.to_vec());
            return Ok(Payload::reference(self.blobs.len() - 1));
        }
        let encoded = bytes.len().div_ceil(3).saturating_mul(4);
        self.count_text(encoded)?;
        self.budget.take(cost::heap(encoded))?;
        Ok(STANDARD.encode(bytes).into())
    }

    fn items(&mut self, item: &Part, start: usize, len: usize) -> Written {
        let mut items = self.array(len)?;
        if item.is_number() {
            let count = |at: usize| (len - at).min(AT_ONCE);
            let all = self.each(len.div_ceil(AT_ONCE), |writer, n| {
                let at = n * AT_ONCE;
                writer.numbers(item, start + at * item.size(), count(at), &mut items)
            });
            return self.made(all, items).map(Value::Array);
        }
        let all = self.each(len, |writer, n| {
            items.push(writer.write(item, start + n * item.size())?);
            Ok(())
        });
        self.made(all, items).map(Value::Array)
    }

    /// Adds consecutive numbers.
    fn numbers(&mut self, item: &Part, at: usize, count: usize, to: &mut Vec<Value>) -> Result<(), Unwritten> {
        self.pace.steps(count)?;
        // At least a character and a comma for each.
        self.count_text(2 * count)?;
        let bytes = self.memory.slice(at, count * item.size())?;
        match &**item {
            Shape::Int(Int::S8) => to.extend(bytes.iter().map(|byte| Value::from(byte.cast_signed()))),
            Shape::Int(Int::U8) => to.extend(bytes.iter().map(|byte| Value::from(*byte))),
            Shape::Int(Int::S16) => to.extend(of(bytes, |bytes| i16::from_le_bytes(bytes).into())),
            Shape::Int(Int::U16) => to.extend(of(bytes, |bytes| u16::from_le_bytes(bytes).into())),
            Shape::Int(Int::S32) => to.extend(of(bytes, |bytes| i32::from_le_bytes(bytes).into())),
            Shape::Int(Int::U32) => to.extend(of(bytes, |bytes| u32::from_le_bytes(bytes).into())),
            Shape::F32 => to.extend(of(bytes, |bytes| of_f32(f32::from_le_bytes(bytes)))),
            Shape::F64 => to.extend(of(bytes, |bytes| of_f64(f64::from_le_bytes(bytes)))),
            // Large numbers are strings, which are counted.
            Shape::Int(int @ (Int::S64 | Int::U64)) => {
                for n in 0..count {
                    to.push(self.int(*int, at + n * item.size())?);
                }
            }
            _ => return Err(Broken("a value that is not a number").into()),
        }
        Ok(())
    }

    /// Calls `one` for each index. If it takes long, another thread takes over this thread's tasks for the rest: the engine lends the
    /// memory only while this function runs here.
    fn each(
        &mut self,
        len: usize,
        mut one: impl FnMut(&mut Self, usize) -> Result<(), Unwritten>,
    ) -> Result<(), Unwritten> {
        for n in 0..len {
            if self.pace.takes_long() && !self.aside {
                self.aside = true;
                let rest = in_place(|| (n..len).try_for_each(|n| one(self, n)));
                self.aside = false;
                return rest;
            }
            one(self, n)?;
        }
        Ok(())
    }

    /// Returns what was made, or drops it if there was an error: freeing many values takes long too.
    fn made<T>(&self, all: Result<(), Unwritten>, made: T) -> Result<T, Unwritten> {
        match all {
            Ok(()) => Ok(made),
            Err(why) => {
                if self.pace.takes_long() && !self.aside {
                    in_place(|| drop(made));
                }
                Err(why)
            }
        }
    }

    fn map(&mut self, key: &Part, value: &Part, at: usize) -> Written {
        let entry = frame([key, value].into_iter());
        let (start, len) = self.memory.list(at, entry.size32 as usize, entry.align32)?;
        let places = |n: usize| {
            let mut places = Places::from(start + n * entry.size32 as usize);
            (places.next(key), places.next(value))
        };
        if **key != Shape::String {
            let mut pairs = self.array(len)?;
            let all = self.each(len, |writer, n| {
                let (key_at, value_at) = places(n);
                let mut pair = writer.array(2)?;
                pair.push(writer.write(key, key_at)?);
                pair.push(writer.write(value, value_at)?);
                pairs.push(Value::Array(pair));
                Ok(())
            });
            return self.made(all, pairs).map(Value::Array);
        }
        let mut object = self.object(len)?;
        let all = self.each(len, |writer, n| {
            let (key_at, value_at) = places(n);
            writer.count_text(3)?;
            let name = writer.string(key_at)?;
            // Of entries with the same key the last one counts, as in the component model.
            writer.budget.take(cost::heap(name.len() + 1))?;
            object.insert(escape_key(name), writer.write(value, value_at)?);
            Ok(())
        });
        self.made(all, object).map(Value::Object)
    }

    fn flags(&mut self, names: &IndexSet<String>, bits: &[u8]) -> Written {
        let is_set = |n: usize| bits.get(n / 8).is_some_and(|byte| byte & (1 << (n % 8)) != 0);
        let count = (0..names.len()).filter(|n| is_set(*n)).count();
        let mut set = self.array(count)?;
        for (n, name) in names.iter().enumerate() {
            if is_set(n) {
                self.count_text(3)?;
                set.push(self.name(name)?);
            }
        }
        Ok(Value::Array(set))
    }

    /// An object with this single key; its value is `null` if there is no payload.
    fn tagged(&mut self, name: &str, carried: Option<&Part>, at: usize) -> Written {
        let mut object = self.object(1)?;
        let key = self.key(name)?;
        let value = match carried {
            Some(part) => self.write(part, at)?,
            None => Value::Null,
        };
        object.insert(key, value);
        Ok(Value::Object(object))
    }

    fn name(&mut self, name: &str) -> Written {
        self.count_text(name.len())?;
        self.budget.take(cost::heap(name.len()))?;
        Ok(name.into())
    }

    fn key(&mut self, name: &str) -> Result<String, Unwritten> {
        self.count_text(name.len() + 3)?;
        self.budget.take(cost::heap(name.len()))?;
        Ok(name.to_owned())
    }

    fn array(&mut self, items: usize) -> Result<Vec<Value>, Unwritten> {
        // Checked here too, so that nothing is allocated for a text that is too long.
        if items.saturating_mul(2) > self.text.left() {
            return Err(Unwritten::TooLong);
        }
        self.budget.take(cost::array(items))?;
        Ok(Vec::with_capacity(items))
    }

    fn object(&mut self, keys: usize) -> Result<Map<String, Value>, Unwritten> {
        if keys.saturating_mul(5) > self.text.left() {
            return Err(Unwritten::TooLong);
        }
        self.budget.take(cost::object(keys))?;
        Ok(Map::with_capacity(keys))
    }

    fn count_text(&mut self, bytes: usize) -> Result<(), Unwritten> {
        self.text.take(bytes).map_err(|OverBudget| Unwritten::TooLong)
    }
}

/// The JSON of each number of `N` bytes.
fn of<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> Value) -> impl Iterator<Item = Value> {
    bytes.as_chunks::<N>().0.iter().map(move |bytes| value(*bytes))
}

const NO_CASE: Broken = Broken("a discriminant without a case");

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
