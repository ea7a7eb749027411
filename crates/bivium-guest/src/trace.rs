//! [`schema_of`]: the JSON Schema of an author's type, made from its `Deserialize`.
//!
//! A type that serde can read asks its reader for the kind of value that it wants. The reader here has no data: it records
//! what is asked for and returns the simplest value of that kind, so that the type goes on asking. If a type checks more than
//! that (a text that must be a date) the reading ends there; the schema has what was asked for by then.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use serde::de::value::MapDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value, json};

use crate::{Payload, fields};

/// The depth to which nested types are read; deeper ones have an empty schema.
const DEEPEST: usize = 8;
/// The most parts of one value that are read, since a type that holds several of itself branches at each step.
const MOST_PARTS: usize = 1000;
/// The most required fields of one type, and variants of an enum, that are found.
const MOST: usize = 64;

/// The JSON Schema (draft 2020-12) of the values from which a type can be read, found from its `Deserialize`. It has no bounds
/// and descriptions that only the author knows.
///
/// ```
/// # use serde_json::json;
/// #[derive(serde::Deserialize)]
/// # #[allow(dead_code)]
/// struct Output {
///     text: String,
/// }
/// let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
/// assert_eq!(bivium_guest::schema_of::<Output>(), schema);
/// ```
#[must_use]
pub fn schema_of<T: DeserializeOwned>() -> Value {
    let mut schema = json!({});
    // Each pass reads another variant of the enums, to find which of them hold data.
    for variant in 0..MOST {
        let trace = Trace::new(variant);
        let read = read::<T>(&trace);
        if variant == 0 {
            schema = read
        } else {
            merge(&mut schema, read)
        }
        if variant + 1 >= trace.variants.take() {
            break;
        }
    }
    // An earlier field may have ended the reading: each field without a schema is read alone.
    for name in fields::of::<T>().unwrap_or_default() {
        let place = format!("/properties/{}", name.replace('~', "~0").replace('/', "~1"));
        if schema.pointer(&place).is_some_and(|known| *known == json!({})) {
            let alone = Trace { only: Some(BTreeSet::from([*name])), ..Trace::new(0) };
            merge(&mut schema, read::<T>(&alone));
        }
    }
    Payload::end_call();
    finish(&mut schema);
    if let Some(object) = schema.as_object_mut().filter(|object| object.contains_key("properties")) {
        let required = required::<T>();
        Payload::end_call();
        if !required.is_empty() {
            object.insert("required".to_owned(), required.into_iter().collect());
        }
    }
    schema
}

fn read<T: DeserializeOwned>(trace: &Trace) -> Value {
    let slot = Slot::default();
    // It may fail: only what it has asked for counts.
    let _ = T::deserialize(Reader { trace, slot: slot.clone(), depth: 0 });
    slot.take()
}

/// The fields that the type needs.
fn required<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut given: BTreeSet<&'static str> = BTreeSet::new();
    let mut required = Vec::new();
    for _ in 0..MOST {
        let trace = Trace { only: Some(given.clone()), ..Trace::new(0) };
        let read = T::deserialize(Reader { trace: &trace, slot: Slot::default(), depth: 0 });
        let Err(Failed::Missing(name)) = read.map(drop) else { break };
        if !given.insert(name) {
            break;
        }
        required.push(name);
    }
    required
}

/// Adds the enum variants that another pass over the same type has found.
fn merge(schema: &mut Value, read: Value) {
    match (schema, read) {
        (Value::Object(schema), Value::Object(read)) => {
            for (key, read) in read {
                match schema.get_mut(&key) {
                    Some(known) => merge(known, read),
                    None => drop(schema.insert(key, read)),
                }
            }
        }
        (Value::Array(schema), Value::Array(read)) => {
            for (known, read) in schema.iter_mut().zip(read) {
                merge(known, read);
            }
        }
        _ => {}
    }
}

/// The key under which an enum's variants are collected until all have been read: what each holds by its name, `true` for
/// nothing.
const VARIANTS: &str = "\0variants";

/// Turns the collected variants of enums into schemas.
fn finish(schema: &mut Value) {
    if let Some(Value::Object(variants)) = schema.get_mut(VARIANTS).map(Value::take) {
        let (plain, holding): (Vec<_>, Vec<_>) =
            variants.into_iter().partition(|(_, holds)| *holds == Value::Bool(true));
        let mut forms = Vec::new();
        if !plain.is_empty() {
            let names: Vec<Value> = plain.into_iter().map(|(name, _)| name.into()).collect();
            forms.push(json!({"enum": names}));
        }
        for (name, holds) in holding {
            let holds = if holds.is_null() { json!({}) } else { holds };
            let properties = Map::from_iter([(name.clone(), holds)]);
            forms.push(
                json!({"type": "object", "properties": properties, "required": [name], "additionalProperties": false}),
            );
        }
        *schema = if forms.len() == 1 { forms.remove(0) } else { json!({"anyOf": forms}) };
    }
    match schema {
        Value::Object(object) => object.values_mut().for_each(finish),
        Value::Array(items) => items.iter_mut().for_each(finish),
        _ => {}
    }
}

struct Trace {
    /// The variant of each enum that is read.
    variant: usize,
    /// The largest number of variants of an enum so far.
    variants: Cell<usize>,
    /// The fields of the outermost struct that are given; all of them if `None`.
    only: Option<BTreeSet<&'static str>>,
    /// How many more parts may be read.
    parts: Cell<usize>,
}

impl Trace {
    fn new(variant: usize) -> Self {
        Self { variant, variants: Cell::new(0), only: None, parts: Cell::new(MOST_PARTS) }
    }
}

/// Holds the schema of one place.
#[derive(Clone, Default)]
struct Slot(Rc<RefCell<Value>>);

impl Slot {
    fn set(&self, schema: Value) {
        *self.0.borrow_mut() = schema;
    }

    /// The schema of the place; empty if it was not read.
    fn take(&self) -> Value {
        match self.0.take() {
            Value::Null => json!({}),
            schema => schema,
        }
    }
}

#[derive(Debug)]
enum Failed {
    Missing(&'static str),
    Other,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing to read")
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Other
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

struct Reader<'a> {
    trace: &'a Trace,
    slot: Slot,
    depth: usize,
}

impl Reader<'_> {
    /// A reader of a part of the value.
    fn part(&self, slot: &Slot) -> Self {
        self.trace.parts.set(self.trace.parts.get().saturating_sub(1));
        Self { trace: self.trace, slot: slot.clone(), depth: self.depth + 1 }
    }

    fn is_deepest(&self) -> bool {
        self.depth >= DEEPEST || self.trace.parts.get() == 0
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $value:expr, $schema:tt;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.slot.set(json!($schema));
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Failed;

    plain! {
        deserialize_bool visit_bool false, {"type": "boolean"};
        deserialize_i8 visit_i8 0, {"type": "integer", "minimum": (i8::MIN), "maximum": (i8::MAX)};
        deserialize_i16 visit_i16 0, {"type": "integer", "minimum": (i16::MIN), "maximum": (i16::MAX)};
        deserialize_i32 visit_i32 0, {"type": "integer", "minimum": (i32::MIN), "maximum": (i32::MAX)};
        deserialize_i64 visit_i64 0, {"type": "integer"};
        deserialize_i128 visit_i128 0, {"type": "integer"};
        deserialize_u8 visit_u8 1, {"type": "integer", "minimum": 0, "maximum": (u8::MAX)};
        deserialize_u16 visit_u16 1, {"type": "integer", "minimum": 0, "maximum": (u16::MAX)};
        deserialize_u32 visit_u32 1, {"type": "integer", "minimum": 0, "maximum": (u32::MAX)};
        deserialize_u64 visit_u64 1, {"type": "integer", "minimum": 0};
        deserialize_u128 visit_u128 1, {"type": "integer", "minimum": 0};
        deserialize_f32 visit_f32 0.0, {"type": "number"};
        deserialize_f64 visit_f64 0.0, {"type": "number"};
        deserialize_char visit_char 'a', {"type": "string", "minLength": 1, "maxLength": 1};
        deserialize_str visit_str "", {"type": "string"};
        deserialize_string visit_string String::new(), {"type": "string"};
        deserialize_bytes visit_bytes &[], {"type": "array"};
        deserialize_byte_buf visit_byte_buf Vec::new(), {"type": "array"};
        deserialize_identifier visit_str "", {"type": "string"};
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        // The type takes any value.
        self.slot.set(json!({}));
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.slot.set(json!({"type": "null"}));
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if self.is_deepest() {
            return visitor.visit_none();
        }
        let inner = Slot::default();
        let read = visitor.visit_some(self.part(&inner));
        let inner = inner.take();
        self.slot.set(if inner == json!({}) { inner } else { json!({"anyOf": [inner, {"type": "null"}]}) });
        read
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let items = Items { reader: &self, left: usize::from(!self.is_deepest()), read: Vec::new() };
        let (read, items) = items.all(visitor);
        let items = items.into_iter().next().unwrap_or_default();
        self.slot.set(if items == json!({}) || items.is_null() {
            json!({"type": "array"})
        } else {
            json!({"type": "array", "items": items})
        });
        read
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        let items = Items { reader: &self, left: if self.is_deepest() { 0 } else { len }, read: Vec::new() };
        let (read, items) = items.all(visitor);
        self.slot.set(json!({"type": "array", "prefixItems": items, "minItems": len, "maxItems": len}));
        read
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        if (&visitor as &dyn Expected).to_string() == crate::payload::A_BLOB {
            self.slot.set(json!({"type": "object", "properties": {"$blob": {"type": "integer", "minimum": 0}},
                "required": ["$blob"], "description": "a file"}));
            crate::payload::bring_a_blob();
            return visitor.visit_map(MapDeserializer::new(std::iter::once((crate::payload::IN, 0_u64))));
        }
        let keys = if self.is_deepest() { Vec::new() } else { vec!["key"] };
        let mut entries = Entries { reader: &self, keys: keys.into_iter(), read: Vec::new(), now: Slot::default() };
        let read = visitor.visit_map(&mut entries);
        let value = entries.read.into_iter().next().map(|(_, slot)| slot.take()).unwrap_or_default();
        let is_known = value.as_object().is_some_and(|value| !value.is_empty());
        self.slot.set(if is_known {
            json!({"type": "object", "additionalProperties": value})
        } else {
            json!({"type": "object"})
        });
        read
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let is_given = |name: &&str| self.depth > 0 || self.trace.only.as_ref().is_none_or(|only| only.contains(name));
        let keys: Vec<&str> =
            if self.is_deepest() { Vec::new() } else { fields.iter().copied().filter(is_given).collect() };
        let mut entries = Entries { reader: &self, keys: keys.into_iter(), read: Vec::new(), now: Slot::default() };
        let read = visitor.visit_map(&mut entries);
        let read_of = |name: &&str| {
            entries.read.iter().find(|(key, _)| key == name).map_or_else(|| json!({}), |(_, slot)| slot.take())
        };
        let properties: Map<String, Value> = fields.iter().map(|name| ((*name).to_owned(), read_of(name))).collect();
        self.slot.set(json!({"type": "object", "properties": properties}));
        read
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let most = variants.len().min(MOST);
        self.trace.variants.set(self.trace.variants.get().max(most));
        let Some(&name) = variants.get(self.trace.variant % most.max(1)) else { return Err(Failed::Other) };
        let holds = Slot::default();
        let read = visitor.visit_enum(Variant { reader: &self, name, holds: holds.clone() });
        let noted = Map::from_iter([(name.to_owned(), holds.0.take())]);
        self.slot.set(Value::Object(Map::from_iter([(VARIANTS.to_owned(), Value::Object(noted))])));
        read
    }
}

/// The items of an array.
struct Items<'a> {
    reader: &'a Reader<'a>,
    left: usize,
    read: Vec<Slot>,
}

impl Items<'_> {
    fn all<'de, V: Visitor<'de>>(mut self, visitor: V) -> (Result<V::Value, Failed>, Vec<Value>) {
        let read = visitor.visit_seq(&mut self);
        (read, self.read.iter().map(Slot::take).collect())
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failed;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let slot = Slot::default();
        self.read.push(slot.clone());
        seed.deserialize(self.reader.part(&slot)).map(Some)
    }
}

/// The entries of an object.
struct Entries<'a> {
    reader: &'a Reader<'a>,
    keys: std::vec::IntoIter<&'static str>,
    read: Vec<(&'static str, Slot)>,
    now: Slot,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failed> {
        let Some(key) = self.keys.next() else { return Ok(None) };
        self.now = Slot::default();
        self.read.push((key, self.now.clone()));
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        let slot = self.now.clone();
        seed.deserialize(self.reader.part(&slot))
    }
}

/// One variant of an enum.
struct Variant<'a> {
    reader: &'a Reader<'a>,
    name: &'static str,
    holds: Slot,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Failed;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failed> {
        Ok((seed.deserialize(self.name.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        self.holds.set(true.into());
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failed> {
        seed.deserialize(self.reader.part(&self.holds))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        self.reader.part(&self.holds).deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failed> {
        self.reader.part(&self.holds).deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;
    use crate::Blob;

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its shape matters")]
    enum Mode {
        Fast,
        Slow,
        Upto(u8),
        Between { low: f64, high: f64 },
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Input {
        audio: Blob,
        text: String,
        #[serde(default)]
        count: u32,
        title: Option<String>,
        #[serde(default)]
        mode: Vec<Mode>,
        pairs: (bool, f32),
        #[serde(default)]
        names: BTreeMap<String, i64>,
        #[serde(default)]
        any: Value,
    }

    #[test]
    fn a_schema_is_made_from_what_a_type_asks_for() {
        let mode = json!({"anyOf": [{"enum": ["fast", "slow"]},
            {"type": "object", "properties": {"upto": {"type": "integer", "minimum": 0, "maximum": 255}}, "required": ["upto"],
             "additionalProperties": false},
            {"type": "object", "properties": {"between": {"type": "object", "properties":
                {"low": {"type": "number"}, "high": {"type": "number"}}}}, "required": ["between"], "additionalProperties": false}]});
        let expected = json!({"type": "object", "properties": {
            "audio": {"type": "object", "properties": {"$blob": {"type": "integer", "minimum": 0}}, "required": ["$blob"],
                "description": "a file"},
            "text": {"type": "string"},
            "count": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "mode": {"type": "array", "items": mode},
            "pairs": {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "number"}], "minItems": 2, "maxItems": 2},
            "names": {"type": "object", "additionalProperties": {"type": "integer"}},
            "any": {}}, "required": ["audio", "text", "pairs"]});
        assert_eq!(schema_of::<Input>(), expected);
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Strict {
        address: IpAddr,
        port: u16,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Tree {
        #[serde(default)]
        children: Vec<Tree>,
        parent: Option<Box<Tree>>,
    }

    #[test]
    fn a_field_that_ends_the_reading_hides_no_other_field_and_recursive_types_end() {
        let strict = schema_of::<Strict>();
        assert_eq!(strict["properties"]["port"]["type"], "integer", "{strict}");
        let tree = schema_of::<Tree>();
        assert_eq!((&tree["properties"]["children"]["type"], &tree["required"]), (&"array".into(), &Value::Null));
        assert_eq!(schema_of::<crate::Empty>(), json!({"type": "object", "properties": {}}));
        assert_eq!(schema_of::<Value>(), json!({}));
    }
}
