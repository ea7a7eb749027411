//! [`RunningCalls`]: the calls that run in a worker.

use std::sync::{Mutex, PoisonError};

use bivium_interface::CallId;

#[derive(Debug, Default)]
pub(crate) struct RunningCalls(Mutex<Vec<CallId>>);

impl RunningCalls {
    /// Records that a call has begun or ended.
    pub(crate) fn set(&self, call: CallId, runs: bool) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|known| *known != call);
        if runs {
            running.push(call);
        }
    }

    /// The call that a line of output belongs to: known if exactly one runs.
    pub(crate) fn only(&self) -> Option<CallId> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }
}
