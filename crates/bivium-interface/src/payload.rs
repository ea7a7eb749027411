//! [`Payload`]: a JSON document and the blobs that it names, and the rules for `{"$blob": n}`.
//!
//! In a payload's JSON an object whose only key is `$blob` stands for a blob. The value is an index into the list of blobs, never a
//! path, so a plugin cannot name a file. If data has an object key `$blob`, `$$blob` and so on, the key is written with one more
//! `$` in front ([`escape`]) and read with one less ([`unescape`]).

use serde_json::{Map, Value};

use crate::{Blob, PluginError, Result};

const KEY: &str = "$blob";

/// A JSON document and the blobs that it names.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The document; `{"$blob": n}` stands for the n-th of `blobs`.
    pub json: Value,
    /// The blobs.
    pub blobs: Vec<Blob>,
}

impl From<Value> for Payload {
    fn from(json: Value) -> Self {
        Self { json, blobs: Vec::new() }
    }
}

impl From<Blob> for Payload {
    fn from(blob: Blob) -> Self {
        Self { json: Self::reference(0), blobs: vec![blob] }
    }
}

impl Payload {
    /// The longest JSON text of a payload, in bytes, unless a manifest's `limits.payload_mb` or the host sets another limit. Larger
    /// data must be a blob.
    pub const MAX_JSON_BYTES: usize = 16 << 20;

    /// The JSON object that stands for the n-th blob.
    #[must_use]
    pub fn reference(n: usize) -> Value {
        let mut object = Map::new();
        object.insert(KEY.to_owned(), Value::from(n));
        Value::Object(object)
    }

    /// Checks that the document names only blobs that the payload has.
    ///
    /// # Errors
    /// `invalid-input` naming the index.
    pub fn checked(self) -> Result<Self> {
        self.check().map(|()| self)
    }

    /// As [`checked`](Self::checked), by reference.
    ///
    /// # Errors
    /// `invalid-input` naming the index.
    pub fn check(&self) -> Result<()> {
        visit(&self.json, &mut |n| match n {
            Some(n) if n < self.blobs.len() => Ok(()),
            Some(n) => Err(PluginError::invalid_input(format!(
                "the payload names blob {n}, but it has only {} blobs",
                self.blobs.len()
            ))),
            None => Err(PluginError::invalid_input(
                "a `$blob` in the payload is not the only key of its object, or its value is not an index",
            )),
        })
    }

    /// The same payload with `offset` added to all indices, so that its blobs can be put after other blobs.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        if offset > 0 && !self.blobs.is_empty() {
            rewrite(&mut self.json, &mut |n| n + offset);
        }
        self
    }

    /// The part of the document at a JSON Pointer (RFC 6901), with only the blobs that it names. `None` if there is nothing at that
    /// place, or if the part names a blob that the payload does not have.
    #[must_use]
    pub fn part(&self, pointer: &str) -> Option<Self> {
        let mut json = at(&self.json, pointer)?.clone();
        let mut blobs: Vec<Blob> = Vec::new();
        let mut moved: Vec<(usize, usize)> = Vec::new();
        let mut missing = false;
        rewrite(&mut json, &mut |n| {
            if let Some((_, to)) = moved.iter().find(|(from, _)| *from == n) {
                return *to;
            }
            let to = blobs.len();
            match self.blobs.get(n) {
                Some(blob) => {
                    blobs.push(blob.clone());
                    moved.push((n, to));
                }
                None => missing = true,
            }
            to
        });
        (!missing).then_some(Self { json, blobs })
    }

    /// The blob that a value of this payload stands for, if the value is a reference.
    #[must_use]
    pub fn blob(&self, value: &Value) -> Option<&Blob> {
        self.blobs.get(index_of(value.as_object()?)?)
    }
}

/// The value at a JSON Pointer. serde_json's own function allocates two strings for each step, which are rarely needed.
fn at<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.is_empty() || pointer.contains('~') {
        return value.pointer(pointer);
    }
    pointer.strip_prefix('/')?.split('/').try_fold(value, |value, step| match value {
        Value::Object(object) => object.get(step),
        Value::Array(items) => {
            let is_index = step == "0" || !step.starts_with(['0', '+']);
            items.get(step.parse::<usize>().ok().filter(|_| is_index)?)
        }
        _ => None,
    })
}

/// The index, if the object is a well-formed reference.
pub(crate) fn index_of(object: &Map<String, Value>) -> Option<usize> {
    let n = object.get(KEY)?.as_u64()?;
    if object.len() == 1 { usize::try_from(n).ok() } else { None }
}

/// Calls `seen` for each object that has the key `$blob`: with its index, or with `None` if it is malformed.
fn visit(value: &Value, seen: &mut impl FnMut(Option<usize>) -> Result<()>) -> Result<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| visit(item, seen)),
        Value::Object(object) if object.contains_key(KEY) => seen(index_of(object)),
        Value::Object(object) => object.values().try_for_each(|item| visit(item, seen)),
        _ => Ok(()),
    }
}

/// Replaces each index `n` by `map(n)`.
fn rewrite(value: &mut Value, map: &mut impl FnMut(usize) -> usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, map)),
        Value::Object(object) => match index_of(object) {
            Some(n) => {
                object.insert(KEY.to_owned(), Value::from(map(n)));
            }
            None => object.values_mut().for_each(|item| rewrite(item, map)),
        },
        _ => {}
    }
}

/// Whether a key is `$blob`, with any number of further `$` in front.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.strip_suffix(KEY).is_some_and(|front| front.bytes().all(|b| b == b'$'))
}

/// Escapes data for a payload: each object key `$blob`, `$$blob` and so on gets one more `$`.
#[must_use]
pub fn escape(value: Value) -> Value {
    rename(value, &escape_key)
}

/// [`escape`] for one key of data.
#[must_use]
pub fn escape_key(key: String) -> String {
    if is_reserved(&key) { format!("${key}") } else { key }
}

/// The reverse of [`escape`]. References do not change.
#[must_use]
pub fn unescape(value: Value) -> Value {
    rename(value, &unescape_key)
}

/// [`unescape`] for one key.
#[must_use]
pub fn unescape_key(key: String) -> String {
    match key.strip_prefix('$') {
        Some(shorter) if is_reserved(shorter) => shorter.to_owned(),
        _ => key,
    }
}

pub(crate) fn rename(value: Value, name: &impl Fn(String) -> String) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| rename(item, name)).collect()),
        Value::Object(object) => {
            Value::Object(object.into_iter().map(|(key, item)| (name(key), rename(item, name))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::ErrorCode;

    fn blobs(n: usize) -> Vec<Blob> {
        (0..n).map(|i| Blob::new(format!("/b/{i}").into(), "text/plain", 1, None)).collect()
    }

    #[test]
    fn indices_without_a_blob_are_refused() {
        let payload = |json| Payload { json, blobs: blobs(2) }.checked();
        assert!(payload(json!({"a": [{"$blob": 1}], "b": {"$$blob": 9}})).is_ok());
        for wrong in [
            json!({"$blob": 2}),
            json!([{"$blob": -1}]),
            json!({"$blob": 0, "x": 1}),
            json!({"$blob": "0"}),
            json!({"$blob": 0.5}),
        ] {
            assert_eq!(payload(wrong.clone()).unwrap_err().code(), ErrorCode::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn a_part_keeps_only_its_own_blobs() {
        let payload = Payload { json: json!({"a": {"$blob": 0}, "b": [{"$blob": 2}, {"$blob": 2}]}), blobs: blobs(3) };
        let part = payload.part("/b").unwrap();
        assert_eq!(part.json, json!([{"$blob": 0}, {"$blob": 0}]));
        assert_eq!(part.blobs.len(), 1);
        assert_eq!(part.blobs[0].path(), payload.blobs[2].path());
        assert!(payload.part("/c").is_none());
        assert!(Payload { json: json!([{"$blob": 3}]), blobs: blobs(3) }.part("").is_none());
    }

    #[test]
    fn shifting_moves_every_index() {
        let payload = Payload { json: json!([{"$blob": 0}, {"$$blob": 0}]), blobs: blobs(1) }.shifted(3);
        assert_eq!(payload.json, json!([{"$blob": 3}, {"$$blob": 0}]));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from)];
        let key = prop_oneof![Just("$blob"), Just("$$blob"), Just("$$$blob"), Just("blob"), Just("$"), Just("x$blob")];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone().prop_map(String::from), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Pointers that find a value, and pointers that must not.
    fn any_pointer() -> impl Strategy<Value = String> {
        let step = prop::sample::select(vec!["", "0", "1", "2", "01", "+1", "-", "$blob", "~0", "~1", "x$blob", "$"]);
        prop::collection::vec(step, 0..4).prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect())
    }

    proptest! {
        #[test]
        fn a_pointer_finds_the_same_value_as_that_of_serde_json(data in any_json(), pointer in any_pointer()) {
            prop_assert_eq!(at(&data, &pointer), data.pointer(&pointer));
            prop_assert_eq!(at(&data, pointer.trim_start_matches('/')), data.pointer(pointer.trim_start_matches('/')));
        }

        #[test]
        fn escaped_data_names_no_blob_and_comes_back(data in any_json()) {
            let escaped = escape(data.clone());
            prop_assert!(Payload::from(escaped.clone()).checked().is_ok());
            prop_assert_eq!(unescape(escaped), data);
        }
    }
}
