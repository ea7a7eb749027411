//! [`Call`]: what a plugin can ask and report while it works, and the log.

use std::time::Duration;

use crate::{Error, Result, sys};

/// The running call. A copy means the same call; a stream may keep one.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call;

impl Call {
    /// Reports how far the call is: `fraction` from 0 to 1, or `None` if it is not known. Cheap; the listener sees the latest
    /// value.
    pub fn progress(&self, fraction: impl Into<Option<f64>>, message: &str) {
        sys::report_progress(fraction.into(), message);
    }

    /// Whether the caller has cancelled the call. A plugin that works for long should ask now and then; otherwise it is stopped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        sys::is_cancelled()
    }

    /// An error if the call was cancelled, for `call.check()?` in a loop.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the caller has cancelled the call.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Cancelled("stopped because the call was cancelled".into()))
        } else {
            Ok(())
        }
    }

    /// The call's id, as in the log.
    #[must_use]
    pub fn id(&self) -> String {
        sys::call_id()
    }

    /// The time until the deadline; `None` if the call has no deadline.
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
    /// For debugging.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is wrong, but the work goes on.
    Warn,
    /// Failed.
    Error,
}

/// Writes a log record; the host adds the plugin's name and the call's id. The macros [`info!`](crate::info), `warn!` and so
/// on format the message.
pub fn log(level: Level, message: &str) {
    sys::log(level, message);
}
