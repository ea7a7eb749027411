//! Reads JSON texts from plugins. Their values take many times the text's length in memory, so they are counted while they are
//! read.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use bivium_interface::PluginError;
use bivium_interface::exact::{self, Inexact};
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::cost::{self, Budget};
use super::pace::Pace;

/// A text of at most this many bytes is read in place, and its values are not counted: handing it to another thread takes
/// longer, and its values take at most some 4 MiB.
pub const SHORT: usize = 128 << 10;

/// Why a text was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is not JSON, or not of the expected form.
    Invalid(serde_json::Error),
    /// It has a value that cannot be kept exactly: an integer beyond 64 bits, a number beyond every float, or a key twice.
    Inexact(Inexact),
    /// Its values would take more of the host's memory than they may.
    TooLarge,
    /// The call is over.
    Over(PluginError),
}

thread_local! {
    /// The budget of the text that this thread is reading; a thread local, since serde passes no context to the fields of a type.
    static READING: Cell<Option<Reading>> = const { Cell::new(None) };
    /// Whether a value that this thread has read may differ from the text.
    static IN_DOUBT: Cell<bool> = const { Cell::new(false) };
}

/// Reads a text. Values that are read by [`counted`] and [`list`] may take `held` bytes of the host's memory, and are exact. For
/// a short text nothing is counted, since its values take a few MiB at most.
///
/// # Errors
/// [`Unread`].
pub fn read<T: DeserializeOwned>(text: &[u8], held: usize, pace: &Pace) -> Result<T, Unread> {
    IN_DOUBT.set(false);
    let read = uncertain(text, held, pace);
    let is_doubtful = match &read {
        Ok(_) => IN_DOUBT.get(),
        // serde_json reports a number beyond every float as a syntax error.
        Err(Unread::Invalid(error)) => error.is_syntax(),
        Err(_) => false,
    };
    if is_doubtful {
        pace.look().map_err(Unread::Over)?;
        if let Some(inexact) = exact::find(text) {
            return Err(Unread::Inexact(inexact));
        }
    }
    read
}

fn uncertain<T: DeserializeOwned>(text: &[u8], held: usize, pace: &Pace) -> Result<T, Unread> {
    if text.len() <= SHORT {
        return serde_json::from_slice(text).map_err(Unread::Invalid);
    }
    READING.set(Some(Reading { budget: Budget::new(held), pace: pace.clone(), stopped: None }));
    let read = serde_json::from_slice(text);
    let stopped = READING.take().and_then(|reading| reading.stopped);
    read.map_err(|error| stopped.unwrap_or(Unread::Invalid(error)))
}

/// Reads any value and counts it; for serde's `deserialize_with`.
///
/// # Errors
/// Those of the text. If [`read`] stops early, the error here has no meaning: [`read`] returns the reason.
pub fn counted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let Some(mut reading) = READING.take() else { return Counted(&mut Uncounted).deserialize(deserializer) };
    let value = Counted(&mut reading).deserialize(deserializer);
    READING.set(Some(reading));
    value
}

/// Reads a list whose items take no more memory than themselves and two short texts, and counts it; for serde's
/// `deserialize_with`.
///
/// # Errors
/// As for [`counted`].
pub fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let Some(mut reading) = READING.take() else { return Vec::deserialize(deserializer) };
    let items = deserializer.deserialize_seq(Items(&mut reading, PhantomData));
    READING.set(Some(reading));
    items
}

/// Any value; it is counted while it is read.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Document(#[serde(deserialize_with = "counted")] pub Value);

/// Counts a value before it is made.
trait Counter {
    /// Counts this many bytes.
    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E>;

    /// Called for each value.
    fn step<E: Error>(&mut self) -> Result<(), E>;

    /// Counts the space for one more item of a list.
    fn grow<T, E: Error>(&mut self, list: &mut Vec<T>) -> Result<(), E>;
}

/// For a short text: counts nothing.
struct Uncounted;

impl Counter for Uncounted {
    fn take<E: Error>(&mut self, _: usize) -> Result<(), E> {
        Ok(())
    }

    fn step<E: Error>(&mut self) -> Result<(), E> {
        Ok(())
    }

    fn grow<T, E: Error>(&mut self, _: &mut Vec<T>) -> Result<(), E> {
        Ok(())
    }
}

struct Reading {
    budget: Budget,
    pace: Pace,
    stopped: Option<Unread>,
}

impl Counter for Reading {
    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.budget.take(bytes).map_err(|_| {
            self.stopped = Some(Unread::TooLarge);
            E::custom("it takes too much memory")
        })
    }

    fn step<E: Error>(&mut self) -> Result<(), E> {
        self.pace.step().map_err(|error| {
            self.stopped = Some(Unread::Over(error));
            E::custom("the call is over")
        })
    }

    fn grow<T, E: Error>(&mut self, list: &mut Vec<T>) -> Result<(), E> {
        if list.len() == list.capacity() {
            // Grows by half: while it grows, the old and the new list exist.
            let more = (list.len() / 2).max(4);
            self.take(cost::heap(more.saturating_mul(size_of::<T>())))?;
            list.reserve_exact(more);
        }
        Ok(())
    }
}

struct Items<'a, T>(&'a mut Reading, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        const TEXTS: usize = 2 * cost::heap(1);
        let mut list = Vec::new();
        loop {
            self.0.grow(&mut list)?;
            let Some(item) = items.next_element()? else { return Ok(list) };
            self.0.step()?;
            self.0.take(TEXTS)?;
            list.push(item);
        }
    }
}

struct Counted<'a, A>(&'a mut A);

impl<'de, A: Counter> DeserializeSeed<'de> for Counted<'_, A> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.step()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de, B: Counter> Visitor<'de> for Counted<'_, B> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        if exact::is_doubtful(value) {
            IN_DOUBT.set(true);
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.take(cost::heap(value.len()))?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.0.take(cost::heap(value.len()))?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list: Vec<Value> = Vec::new();
        while let Some(item) = items.next_element_seed(Counted(&mut *self.0))? {
            self.0.grow(&mut list)?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (mut object, mut counted) = (Map::new(), 0);
        while let Some(key) = entries.next_key::<String>()? {
            if object.len() == counted {
                // The table of indices doubles.
                counted = (counted * 2).max(4);
                self.0.take(cost::object(counted))?;
            }
            self.0.take(cost::heap(key.len()))?;
            let value = entries.next_value_seed(Counted(&mut *self.0))?;
            if object.insert(key, value).is_some() {
                IN_DOUBT.set(true);
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::{Call, ErrorCode};
    use serde_json::json;

    use super::*;

    fn document(text: &str, held: usize) -> Result<Value, Unread> {
        read::<Document>(text.as_bytes(), held, &Pace::endless()).map(|read| read.0)
    }

    #[test]
    fn long_texts_are_read_as_short_ones_are_and_counted() {
        let value = json!({"a": [1, -1, 1.5, null, true, "x\u{7f}"], "b": {"c": {}}, "n": u64::MAX});
        let long = Value::from(vec![value; 20_000]);
        let text = long.to_string();
        assert!(text.len() > 1 << 20);
        assert!(document(&text, 64 << 20).is_ok_and(|read| read == long));
        assert!(matches!(document(&text, 8 << 20), Err(Unread::TooLarge)));
        for broken in [&text[1..], &text[..text.len() - 1], &format!("{text}x"), &"[".repeat(2 << 20)] {
            assert!(matches!(document(broken, 64 << 20), Err(Unread::Invalid(_))));
        }
        let numbers = format!("[{}1]", "1,".repeat(1 << 20));
        assert!(matches!(document(&numbers, 64 << 20), Err(Unread::TooLarge)), "72 bytes each");
        assert!(document(&numbers, 256 << 20).is_ok());
    }

    /// As in the answers of workers: only the values count, not what is beside them.
    #[test]
    fn values_and_lists_within_a_type_are_counted_together() {
        #[derive(Debug, Deserialize)]
        struct Item {
            _name: Option<String>,
        }
        #[derive(Debug, Deserialize)]
        struct Answer {
            #[serde(deserialize_with = "counted")]
            value: Value,
            #[serde(default, deserialize_with = "list")]
            items: Vec<Item>,
        }
        let answer = |values: usize, items: usize, held| {
            let text = json!({"value": vec![json!({}); values], "items": vec![json!({}); items], "other": [[], []]});
            read::<Answer>(text.to_string().as_bytes(), held, &Pace::endless())
        };
        assert_eq!(answer(100_000, 0, 16 << 20).unwrap().value.as_array().unwrap().len(), 100_000);
        assert_eq!(answer(0, 100_000, 16 << 20).unwrap().items.len(), 100_000);
        assert!(matches!(answer(100_000, 100_000, 16 << 20), Err(Unread::TooLarge)));
        let short = read::<Answer>(br#"{"value": 1, "items": [{}]}"#, 0, &Pace::endless()).unwrap();
        assert_eq!((short.value, short.items.len()), (json!(1), 1));
    }

    #[test]
    fn inexact_values_are_refused_with_their_place() {
        for filler in [String::new(), "0,".repeat(SHORT)] {
            for (last, message) in [
                ("18446744073709551615", None),
                ("1e20", None),
                ("18446744073709551616", Some("].id is 18446744073709551616, an integer")),
                ("-9223372036854775809", Some("].id is -9223372036854775809, an integer")),
                (&format!("1{}", "0".repeat(400)), Some("].id is a number of 401 digits")),
                (r#"1, "id": 2"#, Some("the key [")),
            ] {
                let text = format!(r#"[{filler}{{"id": {last}}}]"#);
                let found = match document(&text, 256 << 20) {
                    Ok(_) => None,
                    Err(Unread::Inexact(inexact)) => Some(inexact.to_string()),
                    Err(other) => panic!("{other:?}"),
                };
                assert_eq!(found.is_some(), message.is_some(), "{last}: {found:?}");
                assert!(found.unwrap_or_default().contains(message.unwrap_or_default()), "{last}");
            }
        }
        let broken = document("[18446744073709551616", 1 << 20);
        assert!(matches!(broken, Err(Unread::Invalid(_))), "the text ends too early: {broken:?}");
    }

    #[test]
    fn reading_stops_when_the_call_is_over() {
        let call = Call::new();
        let text = format!("[{}1]", "1,".repeat(SHORT));
        let over = |call: &Call| read::<Document>(text.as_bytes(), usize::MAX, &Pace::of(call.handle()));
        assert!(over(&call).is_ok());
        call.handle().cancel();
        assert!(matches!(over(&call), Err(Unread::Over(error)) if error.code() == ErrorCode::Cancelled));
    }
}
