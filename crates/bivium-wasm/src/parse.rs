//! JSON texts of guests, of which the host holds many times what they are long: counted while they are read.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::cost::{self, Purse};

/// The text is no JSON, or the host would hold more for it than may be.
pub(crate) enum Unread {
    Invalid(serde_json::Error),
    TooLarge,
}

/// The value of a text, for which the host may hold `held` bytes.
pub(crate) fn parse(text: &str, held: usize) -> Result<Value, Unread> {
    /// For a shorter text no count is needed: it becomes a few tens of MiB at most.
    const SHORT: usize = 1 << 20;
    if text.len() <= SHORT {
        return serde_json::from_str(text).map_err(Unread::Invalid);
    }
    let mut reading = Reading { purse: Purse::new(held), is_spent: false };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Counted(&mut reading).deserialize(&mut deserializer);
    match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) if reading.is_spent => Err(Unread::TooLarge),
        Err(error) => Err(Unread::Invalid(error)),
    }
}

struct Reading {
    purse: Purse,
    is_spent: bool,
}

impl Reading {
    fn take<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.purse.take(bytes).map_err(|_| {
            self.is_spent = true;
            E::custom("it takes too much memory")
        })
    }
}

struct Counted<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
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
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.take(cost::heap(value.len()))?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list: Vec<Value> = Vec::new();
        loop {
            if list.len() == list.capacity() {
                // Half as much again: while it grows, both lists are there.
                let more = (list.len() / 2).max(4);
                self.0.take(cost::array(more))?;
                list.reserve_exact(more);
            }
            match items.next_element_seed(Counted(&mut *self.0))? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (mut object, mut room) = (Map::new(), 0);
        while let Some(key) = entries.next_key::<String>()? {
            if object.len() == room {
                // As a table of indices grows.
                room = (room * 2).max(4);
                self.0.take(cost::object(room))?;
            }
            self.0.take(cost::heap(key.len()))?;
            object.insert(key, entries.next_value_seed(Counted(&mut *self.0))?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_texts_are_read_as_short_ones_are_and_counted() {
        let value = json!({"a": [1, -1, 1.5, null, true, "x\u{7f}"], "b": {"c": {}}, "n": u64::MAX});
        let long = Value::from(vec![value; 20_000]);
        let text = long.to_string();
        assert!(text.len() > 1 << 20);
        assert!(parse(&text, 64 << 20).is_ok_and(|read| read == long));
        assert!(matches!(parse(&text, 8 << 20), Err(Unread::TooLarge)));
        for broken in [&text[1..], &text[..text.len() - 1], &format!("{text}x"), &"[".repeat(2 << 20)] {
            assert!(matches!(parse(broken, 64 << 20), Err(Unread::Invalid(_))));
        }
        let numbers = format!("[{}1]", "1,".repeat(1 << 20));
        assert!(matches!(parse(&numbers, 64 << 20), Err(Unread::TooLarge)), "72 bytes each");
        assert!(parse(&numbers, 256 << 20).is_ok());
    }
}
