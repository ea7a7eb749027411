//! [`Call`]: one execution, with its own id, deadline, cancellation and progress.

mod admission;
mod handle;
mod id_text;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use admission::{Admission, Admit};
pub use handle::CallHandle;

use crate::call_id::CallId;
use crate::{Blob, Payload, PluginError, Result};

/// One execution of a plugin: a method, arguments, the blobs that they name, and a [`CallHandle`].
///
/// In the arguments `{"$blob": n}` stands for the n-th of [`blobs`](Self::blobs). Data that only looks like that is written with
/// [`escape`](crate::escape).
///
/// A clone is another call: it has its own id, progress and cancellation, and the same deadline and tokens as the original.
#[non_exhaustive]
pub struct Call {
    /// The method; [`Call::EXECUTE`] by default.
    pub method: Cow<'static, str>,
    /// Positional arguments.
    pub positional: Vec<Value>,
    /// Named arguments.
    pub named: Map<String, Value>,
    /// The blobs that the arguments name by index.
    pub blobs: Vec<Blob>,
    /// Data about the call beside its arguments, for plugins of cjm-plugin-system: their call envelope, with `control`, `run_id`,
    /// `actor` and so on. Other plugins do not see it.
    pub envelope: Map<String, Value>,
    handle: CallHandle,
    admit: Option<Arc<dyn Admit>>,
}

impl Clone for Call {
    fn clone(&self) -> Self {
        Self {
            method: self.method.clone(),
            positional: self.positional.clone(),
            named: self.named.clone(),
            blobs: self.blobs.clone(),
            envelope: self.envelope.clone(),
            handle: self.handle.with_same_limits(),
            admit: self.admit.clone(),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("Call");
        call.field("method", &self.method).field("positional", &self.positional).field("named", &self.named);
        call.field("blobs", &self.blobs).field("envelope", &self.envelope).field("handle", &self.handle);
        call.finish_non_exhaustive()
    }
}

impl Default for Call {
    fn default() -> Self {
        Self::new()
    }
}

impl Call {
    /// The method that every plugin has.
    pub const EXECUTE: &str = "execute";

    /// A call of [`Call::EXECUTE`] without arguments and without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self {
            method: Cow::Borrowed(Self::EXECUTE),
            positional: Vec::new(),
            named: Map::new(),
            blobs: Vec::new(),
            envelope: Map::new(),
            handle: CallHandle::new(),
            admit: None,
        }
    }

    /// Calls another method.
    #[must_use]
    pub fn method(mut self, method: impl Into<Cow<'static, str>>) -> Self {
        self.method = method.into();
        self
    }

    /// Adds a positional argument.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Value>) -> Self {
        self.positional.push(value.into());
        self
    }

    /// Adds a named argument.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.named.insert(name.into(), value.into());
        self
    }

    /// Adds a blob as a named argument.
    #[must_use]
    pub fn blob(mut self, name: impl Into<String>, blob: Blob) -> Self {
        let reference = Payload::reference(self.blobs.len());
        self.blobs.push(blob);
        self.named(name, reference)
    }

    /// Adds a key to the call's envelope ([`envelope`](Self::envelope)).
    #[must_use]
    pub fn envelope(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.envelope.insert(key.into(), value.into());
        self
    }

    /// Adds the keys of a payload's object as named arguments, and its blobs to the blobs of the call.
    ///
    /// # Errors
    /// `invalid-input` if the payload is not an object or names a blob that it does not have.
    pub fn named_from(mut self, payload: Payload) -> Result<Self> {
        let offset = self.blobs.len();
        let payload = payload.checked()?.shifted(offset);
        let Value::Object(named) = payload.json else {
            return Err(PluginError::invalid_input("the arguments are not a JSON object"));
        };
        if self.named.is_empty() {
            self.named = named;
        } else {
            self.named.extend(named);
        }
        self.blobs.extend(payload.blobs);
        Ok(self)
    }

    /// Sets the deadline to `timeout` from now. It covers waiting in the queue, starting an instance, the call and its stream.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        // A timeout that is too long to add means no deadline.
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    /// Sets the deadline, unless an earlier one is set. It also applies to handles that were taken before.
    #[must_use]
    pub fn deadline(self, deadline: Instant) -> Self {
        self.handle.bring_forward(deadline);
        self
    }

    /// Makes `token` cancel the call too, beside its handles and other tokens. Cancelling the call does not cancel `token`.
    #[must_use]
    pub fn cancellation(self, token: CancellationToken) -> Self {
        self.handle.add_token(token);
        self
    }

    /// Makes `admit` decide when the call may start, once it has a place in its plugin. Plugins that are loaded from a manifest ask it,
    /// and hold the [`Admission`](crate::Admission) until the call or its stream has ended.
    #[must_use]
    pub fn admitted_by(mut self, admit: Arc<dyn Admit>) -> Self {
        self.admit = Some(admit);
        self
    }

    /// Takes [`admitted_by`](Self::admitted_by)'s value out of the call. For code that runs calls.
    pub fn take_admit(&mut self) -> Option<Arc<dyn Admit>> {
        self.admit.take()
    }

    /// The call's id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.handle.id()
    }

    /// The handle that controls and observes the call.
    #[must_use]
    pub fn handle(&self) -> &CallHandle {
        &self.handle
    }

    /// A named argument, decoded.
    ///
    /// # Errors
    /// `invalid-input` if it is missing or does not decode.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.named.get(name).unwrap_or(&Value::Null);
        T::deserialize(value).map_err(|error| {
            let what = if self.named.contains_key(name) { error.to_string() } else { "it is missing".to_owned() };
            PluginError::invalid_input(format!("argument {name:?}: {what}")).with_call(self.id())
        })
    }

    /// The arguments as one JSON document, for plugins that take one: the object of the named arguments, or the array of the
    /// positional ones.
    ///
    /// # Errors
    /// `invalid-input` if there are both.
    pub fn document(&self) -> Result<Value> {
        match (self.positional.is_empty(), self.named.is_empty()) {
            (true, _) => Ok(Value::Object(self.named.clone())),
            (false, true) => Ok(Value::Array(self.positional.clone())),
            (false, false) => Err(PluginError::invalid_input(
                "this plugin takes either positional or named arguments, but the call has both",
            )
            .with_call(self.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorCode;

    #[test]
    fn a_document_is_named_or_positional() {
        assert_eq!(Call::new().named("a", 1).document().unwrap(), json!({"a": 1}));
        assert_eq!(Call::new().arg(1).arg("x").document().unwrap(), json!([1, "x"]));
        assert_eq!(Call::new().document().unwrap(), json!({}));
        assert_eq!(Call::new().arg(1).named("a", 1).document().unwrap_err().code(), ErrorCode::InvalidInput);
    }
}
