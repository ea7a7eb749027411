//! For an author's unit tests: runs a plugin under plain `cargo test`, with the same JSON and the same order of calls as in a
//! component, against a host in memory that belongs to the test's thread.

use serde_json::Value;

use crate::instance::{Instance, OpenStream};
use crate::sys::HOST;
use crate::{Blob, Level, Payload, Plugin, Result};

/// A plugin under test.
pub struct Harness<P>(Instance<P>);

impl<P: Plugin> Harness<P> {
    /// Initializes the plugin, and resets the thread's host.
    ///
    /// # Errors
    /// The plugin's errors.
    pub fn new(config: &Value) -> Result<Self> {
        HOST.take();
        let mut instance = Instance::new();
        instance.initialize(&config.to_string())?;
        Ok(Self(instance))
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// The plugin's errors.
    pub fn configure(&mut self, config: &Value) -> Result<()> {
        self.0.initialize(&config.to_string())
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_str(&self.0.current_config()).unwrap_or_default()
    }

    /// Runs `execute`. In the arguments and the result `{"$blob": n}` stands for the n-th of the blobs beside them.
    ///
    /// # Errors
    /// The plugin's errors.
    pub fn execute(&mut self, arguments: &Value, blobs: &[Blob]) -> Result<(Value, Vec<Blob>)> {
        self.execute_method("execute", arguments, blobs)
    }

    /// Runs a method by name.
    ///
    /// # Errors
    /// The plugin's errors.
    pub fn execute_method(&mut self, method: &str, arguments: &Value, blobs: &[Blob]) -> Result<(Value, Vec<Blob>)> {
        split(self.0.execute(method, payload(arguments, blobs))?)
    }

    /// Runs `execute` as a stream.
    ///
    /// # Errors
    /// The plugin's errors before the first result.
    pub fn stream(&mut self, arguments: &Value, blobs: &[Blob]) -> Result<Results> {
        Ok(Results(self.0.execute_stream("execute", payload(arguments, blobs))?))
    }

    /// Ends the instance as the host does.
    pub fn cleanup(mut self) {
        self.0.cleanup();
    }
}

/// The results of a stream.
pub struct Results(OpenStream);

impl Iterator for Results {
    type Item = Result<(Value, Vec<Blob>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().transpose().map(|next| next.and_then(split))
    }
}

/// The plugin's signatures, as the host gets them: under `execute` its `parameters`, what it `returns` and whether it
/// `streams`, and the `parameters` of other methods.
#[must_use]
pub fn signatures<P: Plugin>() -> Value {
    crate::instance::signatures::<P>()
}

/// From now on, every call on this thread is cancelled.
pub fn cancel() {
    HOST.with_borrow_mut(|host| host.cancelled = true);
}

/// The progress that was reported on this thread.
#[must_use]
pub fn progress() -> Vec<(Option<f64>, String)> {
    HOST.with_borrow(|host| host.progress.clone())
}

/// The log records that were written on this thread.
#[must_use]
pub fn logs() -> Vec<(Level, String)> {
    HOST.with_borrow(|host| host.logs.clone())
}

fn payload(arguments: &Value, blobs: &[Blob]) -> Payload {
    Payload { json: arguments.to_string(), blobs: blobs.to_vec() }
}

fn split(payload: Payload) -> Result<(Value, Vec<Blob>)> {
    Ok((serde_json::from_str(&payload.json)?, payload.blobs))
}
