//! [`Pace`]: looks at the clock and at the cancel while values cross.
//!
//! Nothing of this work waits for anything, so nobody else can end it.

use bivium_interface::{CallHandle, PluginError, Result};
use tokio::time::Instant;

use crate::state::HostState;

/// Steps between two looks. A step is a value: some tens of nanoseconds.
const STEPS: usize = 1 << 12;

/// How long one call may go on.
#[derive(Clone)]
pub(super) struct Pace {
    call: Option<CallHandle>,
    deadline: Option<Instant>,
    taken: usize,
}

impl Pace {
    /// For the call that the store's guest works for.
    pub(super) fn of(state: &HostState) -> Self {
        Self { call: state.call().cloned(), deadline: state.deadline(), taken: 0 }
    }

    /// For work that belongs to no call.
    pub(super) fn endless() -> Self {
        Self { call: None, deadline: None, taken: 0 }
    }

    /// To be called for every value.
    pub(super) fn step(&mut self) -> Result<()> {
        self.steps(1)
    }

    /// To be called for so many values at once, as long as they take no longer than some thousands.
    pub(super) fn steps(&mut self, steps: usize) -> Result<()> {
        self.taken = self.taken.saturating_add(steps);
        if self.taken < STEPS {
            return Ok(());
        }
        self.taken = 0;
        self.look()
    }

    /// To be called around work whose length has nothing to do with the number of values.
    pub(super) fn look(&self) -> Result<()> {
        if self.call.as_ref().is_some_and(CallHandle::is_cancelled) {
            return Err(PluginError::cancelled("the call was cancelled"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(PluginError::timeout("the call did not end before its deadline"));
        }
        Ok(())
    }
}
