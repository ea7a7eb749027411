//! Converts a host's own types to arguments, and results to a host's own types, with serde.
//!
//! In a payload `{"$blob": n}` stands for the n-th blob in the list, and data that has such a key has one more `$` in front. A host's
//! types contain neither: they contain [`Blob`]s and unescaped data. During the conversion a blob is an object with one random
//! key, which is new each time, so that data from a plugin cannot look like a blob.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::thread::LocalKey;

use futures_util::{StreamExt as _, stream};
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::payload::{index_of, is_reserved, rename};
use crate::stream::TypedStream;
use crate::{Blob, Call, Payload, PayloadStream, PluginError, PluginInterface, Result, escape_key, unescape_key};

thread_local! {
    /// The blobs of the value that is being written; `None` outside [`Payload::new`].
    static OUTGOING: RefCell<Option<Blobs>> = const { RefCell::new(None) };
    /// The blobs of the document that is being read; `None` outside [`Payload::parse`].
    static INCOMING: RefCell<Option<Blobs>> = const { RefCell::new(None) };
}

/// The blobs of one document, and the key of objects that stand for a blob.
struct Blobs {
    key: String,
    list: Vec<Blob>,
}

/// Sets the thread's blobs until it is dropped, and then restores the previous ones: a type's own `Serialize` may write another
/// document.
struct Scope {
    place: &'static LocalKey<RefCell<Option<Blobs>>>,
    key: String,
    before: Option<Blobs>,
}

impl Scope {
    fn new(place: &'static LocalKey<RefCell<Option<Blobs>>>, list: Vec<Blob>) -> Self {
        let key = format!("\0blob-{:016x}", RandomState::new().hash_one(0));
        let before = place.replace(Some(Blobs { key: key.clone(), list }));
        Self { place, key, before }
    }

    fn blobs(&self) -> Vec<Blob> {
        self.place.take().map(|blobs| blobs.list).unwrap_or_default()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.place.set(self.before.take());
    }
}

impl Payload {
    /// A payload made from the caller's own type. The [`Blob`]s in it become blobs of the payload.
    ///
    /// # Errors
    /// `invalid-input` if the value cannot be written as JSON (a map whose keys are not strings, for example).
    pub fn new<T: Serialize>(value: T) -> Result<Self> {
        let scope = Scope::new(&OUTGOING, Vec::new());
        let json = serde_json::to_value(value)
            .map_err(|error| PluginError::invalid_input(format!("the value cannot be written as JSON: {error}")))?;
        Ok(Self { json: close(json, &scope.key), blobs: scope.blobs() })
    }

    /// Reads the payload into the caller's own type. References to blobs become [`Blob`]s.
    ///
    /// # Errors
    /// `protocol` if the payload, which the plugin made, does not fit the type. `invalid-input` if it names a blob that it does not
    /// have.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let parsed = if self.blobs.is_empty() && !has_reserved(&self.json) {
            T::deserialize(&self.json)
        } else {
            self.check()?;
            let scope = Scope::new(&INCOMING, self.blobs.clone());
            T::deserialize(open(self.json.clone(), &scope.key))
        };
        parsed.map_err(|error| {
            PluginError::protocol(format!("the result does not fit the type that it is read into: {error}"))
        })
    }
}

impl Call {
    /// A call with arguments from the caller's own type. A struct or a map gives named arguments, a tuple or a list gives positional
    /// ones, `()` gives none, and any other value is the only positional argument. [`Blob`]s in it become blobs of the call.
    ///
    /// # Errors
    /// As [`Payload::new`].
    pub fn with<T: Serialize>(input: T) -> Result<Self> {
        let payload = Payload::new(input)?;
        let mut call = Self::new();
        let is_blob = payload.blob(&payload.json).is_some();
        match payload.json {
            Value::Object(named) if !is_blob => call.named = named,
            Value::Array(positional) => call.positional = positional,
            Value::Null => {}
            one => call.positional.push(one),
        }
        call.blobs = payload.blobs;
        Ok(call)
    }
}

impl dyn PluginInterface {
    /// Calls `execute` with the arguments in `input` ([`Call::with`]), and reads its result into the caller's own type
    /// ([`Payload::parse`]). For another method, a deadline or a handle, make a [`Call`].
    ///
    /// # Errors
    /// Those of `execute`; `invalid-input` and `protocol` where a type does not fit.
    pub fn call_typed<Out: DeserializeOwned>(&self, input: impl Serialize) -> impl Future<Output = Result<Out>> + Send {
        let call = Call::with(input).map_err(|error| error.with_plugin(self.name()));
        async move { self.execute(call?).await?.parse().map_err(|error| error.with_plugin(self.name())) }
    }

    /// As [`call_typed`](Self::call_typed), for the results of `execute_stream`.
    ///
    /// # Errors
    /// As [`call_typed`](Self::call_typed). Later errors are items of the stream.
    pub fn stream_typed<Out: DeserializeOwned + 'static>(
        &self,
        input: impl Serialize,
    ) -> impl Future<Output = Result<TypedStream<Out>>> + Send {
        let call = Call::with(input).map_err(|error| error.with_plugin(self.name()));
        async move { Ok(typed(self.execute_stream(call?).await?, self.name())) }
    }
}

/// The results, each read into the caller's own type. The first one that does not fit ends the stream.
#[must_use]
pub fn typed<Out: DeserializeOwned + 'static>(results: PayloadStream, plugin: &str) -> TypedStream<Out> {
    let plugin = plugin.to_owned();
    Box::pin(stream::try_unfold((results, plugin), async |(mut results, plugin)| {
        let Some(result) = results.next().await else { return Ok(None) };
        let parsed = result?.parse().map_err(|error| error.with_plugin(plugin.as_str()))?;
        Ok(Some((parsed, (results, plugin))))
    }))
}

fn has_reserved(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_reserved),
        Value::Object(object) => object.iter().any(|(key, item)| is_reserved(key) || has_reserved(item)),
        _ => false,
    }
}

/// From the conversion's form to the payload's form.
fn close(value: Value, key: &str) -> Value {
    rename(value, &|name| if name == key { "$blob".to_owned() } else { escape_key(name) })
}

/// From the payload's form to the conversion's form.
fn open(value: Value, key: &str) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| open(item, key)).collect()),
        Value::Object(object) => match index_of(&object) {
            Some(n) => Value::Object([(key.to_owned(), Value::from(n))].into_iter().collect()),
            None => {
                Value::Object(object.into_iter().map(|(name, item)| (unescape_key(name), open(item, key))).collect())
            }
        },
        other => other,
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = OUTGOING.with_borrow_mut(|blobs| {
            let blobs = blobs.as_mut()?;
            blobs.list.push(self.clone());
            Some((blobs.key.clone(), blobs.list.len() - 1))
        });
        let Some((key, n)) = place else {
            return Err(S::Error::custom("a blob can be written only into a payload: use `Payload::new`"));
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&key, &n)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reference;
        impl<'de> Visitor<'de> for Reference {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a blob")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blob, A::Error> {
                let entry = map.next_entry::<String, Value>()?;
                let found = INCOMING.with_borrow(|blobs| {
                    let (blobs, (key, n)) = (blobs.as_ref()?, entry?);
                    let n = n.as_u64().filter(|_| key == blobs.key)?;
                    blobs.list.get(usize::try_from(n).ok()?).cloned()
                });
                found.ok_or_else(|| A::Error::custom("a blob is expected here, but there is data"))
            }
        }
        deserializer.deserialize_map(Reference)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{ErrorCode, Stats, async_trait};

    fn blob(name: &str) -> Blob {
        Blob::new(name.into(), "text/plain", 1, None)
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Picture {
        image: Blob,
        more: Vec<Blob>,
        width: Option<u32>,
        notes: BTreeMap<String, i64>,
    }

    fn picture() -> Picture {
        let notes = [("$blob".to_owned(), 7), ("$$blob".to_owned(), 8)].into();
        Picture { image: blob("/a"), more: vec![blob("/b")], width: None, notes }
    }

    #[test]
    fn a_type_with_blobs_becomes_a_payload_and_comes_back() {
        let payload = Payload::new(picture()).unwrap();
        let expected = json!({"image": {"$blob": 0}, "more": [{"$blob": 1}], "width": null,
            "notes": {"$$blob": 7, "$$$blob": 8}});
        assert_eq!(payload.json, expected);
        assert_eq!(payload.blobs.len(), 2);
        let read: Picture = payload.parse().unwrap();
        assert_eq!((read.image.path(), read.more[0].path()), (blob("/a").path(), blob("/b").path()));
        assert_eq!(read.notes, picture().notes);
    }

    #[test]
    fn data_is_not_taken_as_a_blob() {
        let key = "\0blob-0000000000000000";
        for data in [json!({"$$blob": 0}), json!({key: 0}), json!({}), json!("x"), json!({"$blob": 0, "x": 1})] {
            let payload = Payload { json: data.clone(), blobs: vec![blob("/a")] };
            assert!(payload.parse::<Blob>().is_err(), "{data}");
        }
        assert!(serde_json::to_value(blob("/a")).is_err());
        assert!(serde_json::from_value::<Blob>(json!({key: 0})).is_err());
        let missing = Payload { json: json!({"$blob": 1}), blobs: vec![blob("/a")] };
        assert_eq!(missing.parse::<Blob>().unwrap_err().code(), ErrorCode::InvalidInput);
    }

    #[test]
    fn a_result_that_does_not_fit_is_an_error() {
        let error = Payload::from(json!({"width": "wide"})).parse::<BTreeMap<String, u32>>().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Protocol);
        assert!(error.to_string().contains("expected u32"), "{error}");
        let keys: BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
        assert_eq!(Payload::new(keys).unwrap_err().code(), ErrorCode::InvalidInput);
        // A conversion that failed midway leaves nothing behind.
        assert!(OUTGOING.with_borrow(Option::is_none) && INCOMING.with_borrow(Option::is_none));
    }

    #[test]
    fn a_call_has_named_positional_or_no_arguments() {
        let call = Call::with(picture()).unwrap();
        assert_eq!((call.named.len(), call.blobs.len()), (4, 2));
        assert_eq!(Call::with((1, "x")).unwrap().positional, [json!(1), json!("x")]);
        assert_eq!(Call::with("x").unwrap().positional, [json!("x")]);
        let one = Call::with(blob("/a")).unwrap();
        assert_eq!((one.positional, one.blobs.len()), (vec![json!({"$blob": 0})], 1));
        let none = Call::with(()).unwrap();
        assert!(none.positional.is_empty() && none.named.is_empty());
    }

    struct Halve;

    #[async_trait]
    impl PluginInterface for Halve {
        fn name(&self) -> &str {
            "halve"
        }

        fn version(&self) -> &str {
            "1"
        }

        async fn initialize(&self, _config: Value) -> Result<()> {
            Ok(())
        }

        async fn execute(&self, call: Call) -> Result<Payload> {
            let number: f64 = call.argument("number")?;
            Ok(json!({"half": number / 2.0}).into())
        }

        async fn execute_stream(&self, _: Call) -> Result<PayloadStream> {
            Ok(PayloadStream::new(stream::iter([json!(1), json!("two"), json!(3)].map(|json| Ok(json.into())))))
        }

        async fn stats(&self) -> Result<Stats> {
            Ok(Stats::default())
        }
    }

    #[derive(Serialize)]
    struct Input {
        number: f64,
    }

    #[derive(Debug, Deserialize)]
    struct Output {
        half: f64,
    }

    #[tokio::test]
    async fn a_plugin_is_called_with_types_of_the_callers() {
        let plugin: &dyn PluginInterface = &Halve;
        let output = plugin.call_typed::<Output>(&Input { number: 3.0 }).await.unwrap();
        assert!((output.half - 1.5).abs() < f64::EPSILON);
        let error = plugin.call_typed::<u8>(&Input { number: 3.0 }).await.unwrap_err();
        assert_eq!((error.code(), error.plugin()), (ErrorCode::Protocol, Some("halve")));

        let mut numbers = plugin.stream_typed::<u8>(()).await.unwrap();
        assert_eq!(numbers.next().await.unwrap().unwrap(), 1);
        assert_eq!(numbers.next().await.unwrap().unwrap_err().plugin(), Some("halve"));
        assert!(numbers.next().await.is_none(), "the first that does not fit ends the stream");
    }
}
