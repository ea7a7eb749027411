//! The names of the arguments that an author's type takes, and the arguments of a call that it does not take.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// The names of a struct's fields, with aliases. `None` for a type that is not a struct, or takes any field (`flatten`).
pub(crate) fn of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut found = None;
    // It always fails, since there is nothing to read.
    let _ = T::deserialize(Probe(&mut found));
    found
}

/// The first key of a JSON object that is not among `fields`.
pub(crate) fn unknown(json: &str, fields: &[&str]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    // A text that is not an object, or not JSON, is refused when it is read.
    Keys(fields).deserialize(&mut reader).ok().flatten()
}

/// Records the fields that a type asks for.
struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

#[derive(Debug)]
struct Nothing;

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing to read")
    }
}

impl std::error::Error for Nothing {}

impl de::Error for Nothing {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(Nothing)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Nothing> {
        *self.0 = Some(fields);
        Err(Nothing)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Reads the keys of an object, and keeps the first that is not among the fields.
struct Keys<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // Reads to the end: serde_json reports an error if a reader stops in the middle.
        let mut unknown = None;
        while let Some(key) = map.next_key::<String>()? {
            if unknown.is_none() && !self.0.contains(&key.as_str()) {
                unknown = Some(key);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Input {
        text: String,
        #[serde(default, rename = "how-often", alias = "times")]
        count: u32,
        #[serde(skip)]
        inner: u32,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Open {
        text: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    #[test]
    fn the_field_names_of_a_struct_are_known_and_other_types_have_none() {
        let mut names = of::<Input>().unwrap().to_vec();
        names.sort_unstable();
        assert_eq!(names, ["how-often", "text", "times"]);
        assert_eq!(of::<crate::Empty>(), Some(&[][..]));
        assert_eq!((of::<Value>(), of::<Open>(), of::<BTreeMap<String, u8>>()), (None, None, None));
    }

    #[test]
    fn the_first_key_that_is_not_known_is_found() {
        let unknown = |json| unknown(json, &["a", "b"]);
        assert_eq!(unknown(r#"{"a": {"x": [1]}, "c": 1, "d": 2}"#).as_deref(), Some("c"));
        for fine in [r#"{"b": {"c": 1}}"#, "{}", "[1, 2, 3]", "{", "7"] {
            assert_eq!(unknown(fine), None, "{fine}");
        }
    }
}
