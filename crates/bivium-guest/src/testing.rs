//! For an author's unit tests: a plugin run by plain `cargo test`, through the same JSON and the same order of calls
//! as in a component, against a host in memory that belongs to the test's thread.

use serde_json::Value;

use crate::instance::{Instance, OpenStream};
use crate::sys::HOST;
use crate::{Blob, Level, Payload, Plugin, Result};

/// A plugin under test.
pub struct Harness<P>(Instance<P>);

impl<P: Plugin> Harness<P> {
    /// Initializes the plugin and makes the thread's host forget what it saw before.
    ///
    /// # Errors
    /// The plugin's.
    pub fn new(config: &Value) -> Result<Self> {
        HOST.take();
        let mut instance = Instance::new();
        instance.initialize(&config.to_string())?;
        Ok(Self(instance))
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// The plugin's.
    pub fn configure(&mut self, config: &Value) -> Result<()> {
        self.0.initialize(&config.to_string())
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_str(&self.0.current_config()).unwrap_or_default()
    }

    /// Runs `execute`. In arguments and result `{"$blob": n}` stands for the n-th of the blobs beside them.
    ///
    /// # Errors
    /// The plugin's.
    pub fn execute(&mut self, arguments: &Value, blobs: &[Blob]) -> Result<(Value, Vec<Blob>)> {
        self.execute_method("execute", arguments, blobs)
    }

    /// Runs a method by name.
    ///
    /// # Errors
    /// The plugin's.
    pub fn execute_method(&mut self, method: &str, arguments: &Value, blobs: &[Blob]) -> Result<(Value, Vec<Blob>)> {
        split(self.0.execute(method, payload(arguments, blobs))?)
    }

    /// Runs `execute` as a stream.
    ///
    /// # Errors
    /// The plugin's, before the first result.
    pub fn stream(&mut self, arguments: &Value, blobs: &[Blob]) -> Result<Results> {
        Ok(Results(self.0.execute_stream("execute", payload(arguments, blobs))?))
    }

    /// Ends the instance as the host does.
    pub fn cleanup(mut self) {
        self.0.cleanup();
    }
}

/// A stream's results.
pub struct Results(OpenStream);

impl Iterator for Results {
    type Item = Result<(Value, Vec<Blob>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().transpose().map(|next| next.and_then(split))
    }
}

/// What the host is told of how the plugin is called: under `execute`, its `parameters`, what it `returns` and whether it
/// `streams`; and the `parameters` of other methods.
#[must_use]
pub fn signatures<P: Plugin>() -> Value {
    crate::instance::signatures::<P>()
}

/// Cancels whatever call runs on this thread, from now on.
pub fn cancel() {
    HOST.with_borrow_mut(|host| host.cancelled = true);
}

/// What was reported as progress on this thread.
#[must_use]
pub fn progress() -> Vec<(Option<f64>, String)> {
    HOST.with_borrow(|host| host.progress.clone())
}

/// What was logged on this thread.
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
