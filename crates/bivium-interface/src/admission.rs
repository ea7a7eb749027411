//! [`Admit`]: lets a call through that has a place in its plugin.

use std::any::Any;
use std::fmt;

use async_trait::async_trait;

use crate::{CallHandle, Result};

/// Lets a call through once it has a place in its plugin, and before an instance is taken or made for it: see
/// [`Call::admitted_by`](crate::Call::admitted_by).
#[async_trait]
pub trait Admit: Send + Sync + 'static {
    /// Lets the call through if it need not wait. Must not block. Where it gives none, the call comes to [`admit`](Self::admit).
    fn admit_at_once(&self) -> Option<Admission>;

    /// Waits until the call may start.
    ///
    /// # Errors
    /// `resource-exhausted` if it may not; `cancelled`; `timeout`.
    async fn admit(&self, call: &CallHandle) -> Result<Admission>;
}

impl dyn Admit {
    /// Lets the call through at once, or as soon as it may start.
    ///
    /// # Errors
    /// As [`admit`](Admit::admit).
    pub async fn enter(&self, call: &CallHandle) -> Result<Admission> {
        match self.admit_at_once() {
            Some(admission) => Ok(admission),
            None => self.admit(call).await,
        }
    }
}

/// What a call holds that was let through, until it has ended. Dropping it gives back what was taken for the call.
#[derive(Default)]
pub struct Admission(#[allow(dead_code, reason = "held for its drop")] Option<Box<dyn Any + Send + Sync>>);

impl Admission {
    /// One that `place` gives back when it is dropped.
    pub fn new(place: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(place)))
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
