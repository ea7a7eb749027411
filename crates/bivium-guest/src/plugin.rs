//! [`Plugin`]: the one trait that an author implements, and [`Stream`], what a streaming call gives.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Call, Error, Payload, Result};

/// A plugin. The host makes an instance, configures it once, then calls it any number of times, one at a time.
///
/// A panic ends the instance (its message goes to the log) and the host makes a new one, so nothing that must last
/// belongs in `self`.
pub trait Plugin: Sized + 'static {
    /// The plugin's name: the manifest's.
    const NAME: &'static str;
    /// The plugin's version: the manifest's. `env!("CARGO_PKG_VERSION")` will often do.
    const VERSION: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// The methods besides `execute`.
    const METHODS: &'static [Method] = &[];

    /// Whether arguments that [`Input`](Self::Input) does not have are passed over. Otherwise they are refused: most are mistyped
    /// names of others.
    const ALLOWS_UNKNOWN_ARGUMENTS: bool = false;

    /// Whether [`execute_stream`](Self::execute_stream) gives more than one result, for whoever asks how the plugin is called.
    const STREAMS: bool = false;

    /// The names of arguments of which a call gives one set and no other, for whoever asks how the plugin is called: of
    /// `&[&["text"], &["file"]]` a text or a file. They are optional ones in [`Input`](Self::Input), and `execute` still looks
    /// which came.
    const ALTERNATIVES: &'static [&'static [&'static str]] = &[];

    /// The configuration. It is written again for whoever asks what is in force: mark a secret
    /// `#[serde(skip_serializing)]`. [`Empty`] if there is none.
    type Config: DeserializeOwned + Serialize;
    /// The arguments of `execute`. A struct takes them by name or by position (optional ones need
    /// `#[serde(default)]`).
    type Input: DeserializeOwned;
    /// The result of `execute`.
    type Output: Serialize;

    /// A JSON Schema (draft 2020-12) of the configuration: by default what its type tells. Write one to say more of each setting,
    /// its bounds and what it is for. May be asked for before there is an instance.
    #[must_use]
    fn config_schema() -> Value {
        crate::instance::config_schema::<Self::Config>()
    }

    /// A JSON Schema (draft 2020-12) of the result of `execute`, or of each result where it [streams](Self::STREAMS), for whoever
    /// asks how the plugin is called. By default nothing is told. Where the type can be read as well as written,
    /// [`schema_of`](crate::schema_of) makes the schema of it.
    #[must_use]
    fn output_schema() -> Value {
        Value::Object(Map::new())
    }

    /// The same of the arguments of a method of [`METHODS`](Self::METHODS).
    #[must_use]
    fn method_parameters(method: &str) -> Value {
        let _ = method;
        Value::Object(Map::new())
    }

    /// Makes the plugin. The host has checked the configuration against the schema and filled in its defaults.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for what the schema cannot say.
    fn new(config: Self::Config) -> Result<Self>;

    /// Takes a changed configuration. On an error the one before must stay in force; by default a new plugin takes
    /// the place of the old one only once it is made.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    fn reconfigure(&mut self, config: Self::Config) -> Result<()> {
        *self = Self::new(config)?;
        Ok(())
    }

    /// Runs one call.
    ///
    /// # Errors
    /// Whatever the plugin says.
    fn execute(&mut self, call: &Call, input: Self::Input) -> Result<Self::Output>;

    /// Starts a call with many results; by default it has the one of [`execute`](Self::execute).
    ///
    /// # Errors
    /// Whatever the plugin says before the first result.
    fn execute_stream(&mut self, call: &Call, input: Self::Input) -> Result<Stream> {
        let output = self.execute(call, input)?;
        Ok(Stream::new([Ok(output)]))
    }

    /// Runs a method of [`METHODS`](Self::METHODS); [`Payload::parse`] reads its arguments, [`Payload::new`] writes
    /// its result.
    ///
    /// # Errors
    /// Whatever the plugin says.
    fn execute_method(&mut self, call: &Call, method: &str, input: Payload) -> Result<Payload> {
        let _ = (call, input);
        Err(Error::NotFound(format!("the method `{method}` is declared but not implemented")))
    }

    /// Starts a method of [`METHODS`](Self::METHODS) with many results; by default it has the one of
    /// [`execute_method`](Self::execute_method).
    ///
    /// # Errors
    /// Whatever the plugin says before the first result.
    fn execute_method_stream(&mut self, call: &Call, method: &str, input: Payload) -> Result<Stream> {
        let payload = self.execute_method(call, method, input)?;
        Ok(Stream(Box::new(std::iter::once(Ok(payload)))))
    }

    /// The instance is about to end. Not called after a panic.
    fn cleanup(self) {}
}

/// A method besides `execute`.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The name by which it is called.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
}

/// No configuration, or no arguments: an empty object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A call's results, each made when it is asked for: a slow reader slows the plugin down. Dropped as soon as nobody
/// reads on.
pub struct Stream(Box<dyn Iterator<Item = Result<Payload>>>);

impl Stream {
    /// A stream of what an iterator gives. It ends with the iterator or with its first error.
    pub fn new<I, T>(results: I) -> Self
    where
        I: IntoIterator<Item = Result<T>>,
        I::IntoIter: 'static,
        T: Serialize,
    {
        Self(Box::new(results.into_iter().map(|result| result.and_then(Payload::new))))
    }
}

impl Iterator for Stream {
    type Item = Result<Payload>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}
