//! [`Call`]: what a plugin can ask and say while it works, and the log.

use std::time::Duration;

use crate::{Error, Result, sys};

/// The running call. A copy is as good as the original, and outlives it: a stream keeps one.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call;

impl Call {
    /// Says how far the call is: `fraction` from 0 to 1, or `None` where it is not known. Cheap; the listener sees
    /// the latest value.
    pub fn progress(&self, fraction: impl Into<Option<f64>>, message: &str) {
        sys::report_progress(fraction.into(), message);
    }

    /// Whether the caller has given up. A plugin that works for long asks now and then; one that does not is stopped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        sys::is_cancelled()
    }

    /// For `call.check()?` in a loop.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the caller has given up.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Cancelled("stopped because the call was cancelled".into()))
        } else {
            Ok(())
        }
    }

    /// The call's id, as it stands in the log.
    #[must_use]
    pub fn id(&self) -> String {
        sys::call_id()
    }

    /// The time to the deadline; none where there is no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        sys::remaining_ms().map(Duration::from_millis)
    }
}

/// How much a log record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Not as it should be.
    Warn,
    /// Failed.
    Error,
}

/// Writes a log record; it carries the plugin's name and the call's id. The macros [`info!`](crate::info) and its
/// siblings format.
pub fn log(level: Level, message: &str) {
    sys::log(level, message);
}
