//! [`Payload`]: a JSON text and the blobs that it names, and how serde data is converted to it and back.
//!
//! Between host and plugin, `{"$blob": n}` stands for the n-th blob of the list beside the text, and data that has such a
//! key of its own gets one more `$` in front. The plugin sees neither: in an author's type a blob is a [`Blob`], and data
//! reads as it was written. In between there is a third form, private to this file: a blob is an object with one key, [`IN`]
//! (it came with the call) or [`OUT`] (it belongs to the value that is being serialized). So a `serde_json::Value` that is
//! passed on still names its blobs. Normal data has no keys that begin with NUL, and a forged one only names a blob that its
//! author could also name openly.
//!
//! Text without such keys, which is nearly all text, is read and written in one step.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, Unexpected, Visitor};
use serde::ser::{self, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{Blob, Error, Result, fields, words};

const KEY: &str = "$blob";
pub(crate) const IN: &str = "\0blob-in";
/// The name of a blob in an error that found something else.
pub(crate) const A_BLOB: &str = "a blob";
const OUT: &str = "\0blob-out";

thread_local! {
    /// The blobs that came with the running call. Kept until it ends, since a `Value` may name them.
    static INCOMING: RefCell<Vec<Blob>> = const { RefCell::new(Vec::new()) };
    /// The blobs of the value that is being serialized; `None` outside [`Payload::new`].
    static OUTGOING: RefCell<Option<Vec<Blob>>> = const { RefCell::new(None) };
}

/// A JSON text and the blobs that it names, as they cross the boundary.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    pub(crate) json: String,
    pub(crate) blobs: Vec<Blob>,
}

impl Payload {
    /// The result of a method, from the author's own type.
    ///
    /// # Errors
    /// [`Error::PluginFailed`] if the type cannot be written as JSON (for example a map whose keys are not strings).
    pub fn new<T: Serialize>(value: T) -> Result<Self> {
        OUTGOING.set(Some(Vec::new()));
        let text = serde_json::to_string(&value);
        // Drops the value's own handles first: then ours is the only one, and the host need not make a second.
        drop(value);
        let mut blobs = OUTGOING.take().unwrap_or_default();
        let mut json = text?;
        if !blobs.is_empty() || may_name_blobs(&json) {
            let mut document = serde_json::from_str(&json)?;
            INCOMING.with_borrow(|incoming| close(&mut document, incoming, &mut blobs));
            json = document.to_string();
        }
        Ok(Self { json, blobs })
    }

    /// A method's arguments, read into the author's own type. A struct can be read from an object of named arguments and from an
    /// array of positional ones. Named arguments that the struct does not have are refused
    /// ([`parse_known`](Self::parse_known) ignores them).
    ///
    /// # Errors
    /// [`Error::InvalidInput`], which says what is wrong.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        if let Some(names) = fields::of::<T>()
            && let Some(unknown) = fields::unknown(&self.json, names)
        {
            let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let known =
                if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) };
            return Err(Error::InvalidInput(format!("there is no argument {unknown:?}; {known}")));
        }
        self.parse_known()
    }

    /// As [`parse`](Self::parse), but ignores arguments that the type does not have.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_known<T: DeserializeOwned>(&self) -> Result<T> {
        INCOMING.set(self.blobs.clone());
        if !may_name_blobs(&self.json)
            && let Ok(parsed) = serde_json::from_str(&self.json)
        {
            return Ok(parsed);
        }
        let mut document: Value = serde_json::from_str(&self.json).map_err(misfit)?;
        open(&mut document, self.blobs.len())?;
        fit(document).map_err(misfit)
    }

    /// Drops the blobs that came with the call, which ends.
    pub(crate) fn end_call() {
        drop(INCOMING.take());
    }
}

/// Provides a blob, for a type that is read to find its schema.
pub(crate) fn bring_a_blob() {
    let has_one = INCOMING.with_borrow(|incoming| !incoming.is_empty());
    if !has_one && let Ok(blob) = Blob::from_bytes("application/octet-stream", &[]) {
        INCOMING.set(vec![blob]);
    }
}

/// Reads the author's own type; the error names the place.
pub(crate) fn fit<T: DeserializeOwned>(document: Value) -> std::result::Result<T, String> {
    serde_path_to_error::deserialize(document).map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
        let place = if error.path().iter().next().is_some() { error.path().to_string() } else { String::new() };
        words::of(&place, &error.inner().to_string())
    })
}

fn misfit(error: impl fmt::Display) -> Error {
    Error::InvalidInput(format!("the arguments do not fit: {error}"))
}

/// False only if the text certainly has no key of this file.
fn may_name_blobs(json: &str) -> bool {
    // A quick check first: nearly every text has neither of the two bytes.
    memchr::memchr2(b'$', b'\\', json.as_bytes()).is_some() && (json.contains(KEY) || json.contains("\\u"))
}

/// Whether a key is `$blob` after any number of further `$`.
fn is_reserved(key: &str) -> bool {
    key.strip_suffix(KEY).is_some_and(|front| front.bytes().all(|byte| byte == b'$'))
}

/// The index under `key`, if that is the only key of the object.
fn index(object: &Map<String, Value>, key: &str) -> Option<usize> {
    let n = object.get(key)?.as_u64()?;
    if object.len() == 1 { usize::try_from(n).ok() } else { None }
}

fn reference(key: &str, n: usize) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), Value::from(n))])
}

/// Calls `visit` for each object. If it returns true, the values in that object are not visited.
fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>) -> Result<bool>) -> Result<()> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| walk(item, visit)),
        Value::Object(object) => {
            if visit(object)? {
                Ok(())
            } else {
                object.values_mut().try_for_each(|item| walk(item, visit))
            }
        }
        _ => Ok(()),
    }
}

/// From the form between host and plugin to the private one.
fn open(document: &mut Value, count: usize) -> Result<()> {
    walk(document, &mut |object| {
        if object.contains_key(KEY) {
            let n = index(object, KEY)
                .ok_or_else(|| Error::invalid_input("a `$blob` is not an object of that one key with an index"))?;
            if n >= count {
                return Err(Error::invalid_input(format!(
                    "the arguments name blob {n}, but only {count} came with them"
                )));
            }
            *object = reference(IN, n);
            return Ok(true);
        }
        rename(object, |key| key.strip_prefix('$').filter(|shorter| is_reserved(shorter)).map(str::to_owned));
        Ok(false)
    })
}

/// From the private form to the one between host and plugin. Blobs that came in and go out again join `blobs`.
fn close(document: &mut Value, incoming: &[Blob], blobs: &mut Vec<Blob>) {
    let own = blobs.len();
    let mut passed_on: Vec<(usize, usize)> = Vec::new();
    // The closure never fails.
    let _ = walk(document, &mut |object| {
        if let Some(n) = index(object, OUT).filter(|n| *n < own) {
            *object = reference(KEY, n);
            return Ok(true);
        }
        if let Some((n, blob)) = index(object, IN).and_then(|n| Some((n, incoming.get(n)?))) {
            let known = passed_on.iter().find(|(from, _)| *from == n).map(|(_, to)| *to);
            let to = known.unwrap_or_else(|| {
                passed_on.push((n, blobs.len()));
                blobs.push(blob.clone());
                blobs.len() - 1
            });
            *object = reference(KEY, to);
            return Ok(true);
        }
        rename(object, |key| is_reserved(key).then(|| format!("${key}")));
        Ok(false)
    });
}

fn rename(object: &mut Map<String, Value>, name: impl Fn(&str) -> Option<String>) {
    if object.keys().any(|key| name(key).is_some()) {
        *object = std::mem::take(object).into_iter().map(|(key, value)| (name(&key).unwrap_or(key), value)).collect();
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = OUTGOING.with_borrow_mut(|outgoing| {
            outgoing.as_mut().map(|blobs| {
                blobs.push(self.clone());
                blobs.len() - 1
            })
        });
        let place =
            place.ok_or_else(|| ser::Error::custom("a blob can be serialized only inside a plugin's result"))?;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(OUT, &place)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reference;
        impl<'de> Visitor<'de> for Reference {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(A_BLOB)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blob, A::Error> {
                let found = match map.next_entry::<String, Value>()? {
                    Some((key, Value::Number(n))) if key == IN => n.as_u64().and_then(|n| usize::try_from(n).ok()),
                    _ => None,
                };
                found
                    .and_then(|n| INCOMING.with_borrow(|incoming| incoming.get(n).cloned()))
                    .ok_or_else(|| de::Error::invalid_type(Unexpected::Map, &A_BLOB))
            }
        }
        deserializer.deserialize_map(Reference)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Input {
        audio: Blob,
        #[serde(default)]
        level: u8,
    }

    fn blob(text: &str) -> Blob {
        Blob::from_bytes("text/plain", text.as_bytes()).unwrap()
    }

    fn payload(json: &Value, blobs: &[&str]) -> Payload {
        Payload { json: json.to_string(), blobs: blobs.iter().map(|text| blob(text)).collect() }
    }

    fn text(blob: &Blob) -> String {
        String::from_utf8(blob.bytes(100).unwrap()).unwrap()
    }

    #[test]
    fn named_and_positional_arguments_fit_the_same_struct() {
        for arguments in [json!({"level": 3, "audio": {"$blob": 1}}), json!([{"$blob": 1}, 3])] {
            let input: Input = payload(&arguments, &["a", "b"]).parse().unwrap();
            assert_eq!((text(&input.audio).as_str(), input.level), ("b", 3));
        }
        let input: Input = payload(&json!([{"$blob": 0}]), &["a"]).parse().unwrap();
        assert_eq!(input.level, 0);
    }

    #[test]
    fn wrong_arguments_are_refused_in_words() {
        for (arguments, words) in [
            (json!({"audio": {"$blob": 1}}), "blob 1, but only 1 came"),
            (json!({"audio": {"$blob": -1}}), "one key with an index"),
            (json!({"audio": {"$blob": 0, "x": 1}}), "one key with an index"),
            (json!({"audio": {"path": "/etc/passwd"}}), "audio must be a blob, and is an object"),
            (json!({"audio": "song.wav"}), "audio must be a blob, and is the text \"song.wav\""),
            (json!({"level": 3}), "the arguments do not fit: `audio` is missing"),
            (
                json!({"level": "3"}),
                "the arguments do not fit: level must be a whole number from 0 to 255, and is the text \"3\"",
            ),
            (
                json!({"audio": {"$blob": 0}, "level": -3}),
                "level must be a whole number from 0 to 255, and is the number -3",
            ),
            (json!({"audio": {"$blob": 0}, "levle": 3}), "there is no argument \"levle\"; it takes `audio`, `level`"),
        ] {
            let error = payload(&arguments, &["a"]).parse::<Input>().map(|_| ()).unwrap_err();
            assert!(error.code() == "invalid-input" && error.message().contains(words), "{arguments}: {error}");
        }
        let broken = Payload { json: "{".into(), blobs: Vec::new() };
        assert_eq!(broken.parse::<Value>().unwrap_err().code(), "invalid-input");
    }

    #[test]
    fn unknown_arguments_are_ignored_if_the_plugin_allows_them() {
        let arguments = json!({"audio": {"$blob": 0}, "levle": 3});
        assert_eq!(payload(&arguments, &["a"]).parse_known::<Input>().unwrap().level, 0);
        assert!(
            payload(&json!({"any": 1}), &[]).parse::<crate::Empty>().unwrap_err().message().ends_with("it takes none")
        );
    }

    #[test]
    fn data_with_the_reserved_keys_comes_in_bare_and_goes_out_escaped() {
        let wire = json!({"a": {"$$blob": 0}, "b": [{"$$$blob": "x", "$": 1}]});
        let data: Value = payload(&wire, &[]).parse().unwrap();
        assert_eq!(data, json!({"a": {"$blob": 0}, "b": [{"$$blob": "x", "$": 1}]}));
        let out = Payload::new(data).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&out.json).unwrap(), wire);
    }

    #[test]
    fn results_hold_the_plugins_own_blobs_and_the_callers() {
        let wire = json!({"keep": [{"$blob": 1}, {"$blob": 1}]});
        let data: Value = payload(&wire, &["a", "b"]).parse().unwrap();
        let own = blob("own");
        let out = Payload::new((&own, data, &own)).unwrap();
        assert_eq!(out.json, r#"[{"$blob":0},{"keep":[{"$blob":2},{"$blob":2}]},{"$blob":1}]"#);
        assert_eq!(out.blobs.iter().map(text).collect::<Vec<_>>(), ["own", "own", "b"]);
        Payload::end_call();
        assert!(serde_json::to_string(&own).is_err(), "outside a result there is no list to be an index into");
    }

    #[test]
    fn forged_inner_keys_stay_data() {
        let wire = json!({"x": {"\0blob-out": 0}, "y": {"\0blob-in": 7}});
        let data: Value = payload(&wire, &[]).parse().unwrap();
        let out = Payload::new(data).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&out.json).unwrap(), wire);
    }
}
