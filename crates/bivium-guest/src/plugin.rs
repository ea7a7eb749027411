//! [`Plugin`]: the one trait that an author implements, and [`Stream`], the result of a streaming call.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Call, Error, Payload, Result};

/// A plugin. The host makes an instance, configures it once, and then calls it any number of times, one call at a time.
///
/// A panic ends the instance (its message goes to the log) and the host makes a new one. Do not keep anything in `self` that
/// must outlive that.
pub trait Plugin: Sized + 'static {
    /// The plugin's name, as in the manifest.
    const NAME: &'static str;
    /// The plugin's version, as in the manifest; often `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// The methods besides `execute`.
    const METHODS: &'static [Method] = &[];

    /// Whether arguments that [`Input`](Self::Input) does not have are ignored. By default they are refused, since most of them
    /// are typing errors.
    const ALLOWS_UNKNOWN_ARGUMENTS: bool = false;

    /// Whether [`execute_stream`](Self::execute_stream) returns more than one result. Shown in the plugin's description.
    const STREAMS: bool = false;

    /// Sets of arguments of which a call gives exactly one: `&[&["text"], &["file"]]` for either a text or a file. Shown in the
    /// plugin's description. The arguments are optional in [`Input`](Self::Input), and `execute` must still check which of them
    /// are there.
    const ALTERNATIVES: &'static [&'static [&'static str]] = &[];

    /// The configuration. The plugin also returns the one in force: mark a secret with `#[serde(skip_serializing)]`. [`Empty`] if
    /// there is no configuration.
    type Config: DeserializeOwned + Serialize;
    /// The arguments of `execute`. A struct takes them by name or by position (optional arguments need `#[serde(default)]`).
    type Input: DeserializeOwned;
    /// The result of `execute`.
    type Output: Serialize;

    /// A JSON Schema (draft 2020-12) of the configuration. The default is made from its type; write one to describe each setting
    /// and its bounds. May be called before there is an instance.
    #[must_use]
    fn config_schema() -> Value {
        crate::instance::config_schema::<Self::Config>()
    }

    /// A JSON Schema (draft 2020-12) of the result of `execute`, or of each result if it [streams](Self::STREAMS). Shown in the
    /// plugin's description; empty by default. For a type that can be read as well as written, [`schema_of`](crate::schema_of)
    /// makes the schema.
    #[must_use]
    fn output_schema() -> Value {
        Value::Object(Map::new())
    }

    /// A JSON Schema (draft 2020-12) of the arguments of a method of [`METHODS`](Self::METHODS); empty by default.
    #[must_use]
    fn method_parameters(method: &str) -> Value {
        let _ = method;
        Value::Object(Map::new())
    }

    /// Makes the plugin. The host has already checked the configuration against the schema and filled in the defaults.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for rules that the schema cannot express.
    fn new(config: Self::Config) -> Result<Self>;

    /// Applies a changed configuration. On an error the previous one must stay in force. By default this makes a new plugin and
    /// replaces the old one only if that succeeds.
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
    /// Any error of the plugin.
    fn execute(&mut self, call: &Call, input: Self::Input) -> Result<Self::Output>;

    /// Starts a call with many results. The default gives the one result of [`execute`](Self::execute).
    ///
    /// # Errors
    /// Any error of the plugin before the first result.
    fn execute_stream(&mut self, call: &Call, input: Self::Input) -> Result<Stream> {
        let output = self.execute(call, input)?;
        Ok(Stream::new([Ok(output)]))
    }

    /// Runs a method of [`METHODS`](Self::METHODS); [`Payload::parse`] reads its arguments, [`Payload::new`] writes
    /// its result.
    ///
    /// # Errors
    /// Any error of the plugin.
    fn execute_method(&mut self, call: &Call, method: &str, input: Payload) -> Result<Payload> {
        let _ = (call, input);
        Err(Error::NotFound(format!("the method `{method}` is declared but not implemented")))
    }

    /// Starts a method of [`METHODS`](Self::METHODS) with many results. The default gives the one result of
    /// [`execute_method`](Self::execute_method).
    ///
    /// # Errors
    /// Any error of the plugin before the first result.
    fn execute_method_stream(&mut self, call: &Call, method: &str, input: Payload) -> Result<Stream> {
        let payload = self.execute_method(call, method, input)?;
        Ok(Stream(Box::new(std::iter::once(Ok(payload)))))
    }

    /// Called before the instance ends, but not after a panic.
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

/// A call's results. Each is made when it is asked for, so a slow reader slows the plugin down. The stream is dropped as soon
/// as nobody reads it any more.
pub struct Stream(Box<dyn Iterator<Item = Result<Payload>>>);

impl Stream {
    /// A stream of an iterator's items. It ends with the iterator or with its first error.
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
