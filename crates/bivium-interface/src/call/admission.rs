//! [`Admit`]: decides when a call that has a place in its plugin may start.

use std::any::Any;
use std::fmt;

use async_trait::async_trait;

use crate::{CallHandle, Result};

/// Admits a call once it has a place in its plugin, and before an instance is taken or made for it: see
/// [`Call::admitted_by`](crate::Call::admitted_by).
#[async_trait]
pub trait Admit: Send + Sync + 'static {
    /// Admits the call if it need not wait. Must not block. If it returns `None`, the call is passed to [`admit`](Self::admit).
    fn admit_at_once(&self) -> Option<Admission>;

    /// Waits until the call may start.
    ///
    /// # Errors
    /// `resource-exhausted` if the call may never start; `cancelled`; `timeout`.
    async fn admit(&self, call: &CallHandle) -> Result<Admission>;
}

impl dyn Admit {
    /// Admits the call at once, or as soon as it may start.
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

/// Held by an admitted call until it has ended. Dropping it releases what was reserved for the call.
#[derive(Default)]
pub struct Admission(#[allow(dead_code, reason = "held for its drop")] Option<Box<dyn Any + Send + Sync>>);

impl Admission {
    /// An admission that drops `place` when it is dropped.
    pub fn new(place: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(place)))
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
