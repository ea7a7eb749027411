//! [`Pace`]: checks the clock and the cancel while values are read and written.
//!
//! That work never waits, so nothing else can interrupt it.

use std::time::Duration;

use bivium_interface::{CallHandle, PluginError, Result};
use tokio::time::Instant;

/// Steps between two checks. A step is one value: some tens of nanoseconds.
const STEPS: usize = 1 << 12;

/// Decides how long the work for one call may go on.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    call: Option<CallHandle>,
    deadline: Option<Instant>,
    taken: usize,
    takes_long: bool,
}

impl Pace {
    /// The work may go on until the call is cancelled or this deadline has passed.
    #[must_use]
    pub fn new(call: Option<CallHandle>, deadline: Option<Instant>) -> Self {
        Self { call, deadline, taken: 0, takes_long: false }
    }

    /// The work may go on until the call is cancelled or its own deadline has passed.
    #[must_use]
    pub fn of(call: &CallHandle) -> Self {
        Self::new(Some(call.clone()), call.deadline())
    }

    /// For work that belongs to no call: no limit.
    #[must_use]
    pub fn endless() -> Self {
        Self::default()
    }

    /// How much time is left; `None` if the work has no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Must be called for every value.
    ///
    /// # Errors
    /// `cancelled`; `timeout`.
    pub fn step(&mut self) -> Result<()> {
        self.steps(1)
    }

    /// Must be called for this many values at once; use it only for work that is as short as some thousand values.
    ///
    /// # Errors
    /// `cancelled`; `timeout`.
    pub fn steps(&mut self, steps: usize) -> Result<()> {
        self.taken = self.taken.saturating_add(steps);
        if self.taken < STEPS {
            return Ok(());
        }
        self.taken = 0;
        self.takes_long = true;
        self.look()
    }

    /// Whether the work has taken so long that other tasks should not wait for the rest: see [`in_place`](super::in_place).
    #[must_use]
    pub fn takes_long(&self) -> bool {
        self.takes_long
    }

    /// Must be called around work whose duration does not depend on the number of values.
    ///
    /// # Errors
    /// `cancelled`; `timeout`.
    pub fn look(&self) -> Result<()> {
        if let Some(error) = self.call.as_ref().and_then(CallHandle::interruption) {
            return Err(error);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(PluginError::past_deadline());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::{Call, ErrorCode};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_checks_once_in_some_thousand_steps() {
        let call = Call::new().timeout(Duration::from_secs(1));
        let mut pace = Pace::of(call.handle());
        let most = |pace: &mut Pace| (0..2 * STEPS).find_map(|_| pace.step().err());
        assert_eq!(most(&mut pace), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.step().unwrap();
        assert_eq!(most(&mut pace).unwrap().code(), ErrorCode::Timeout);
        call.handle().cancel();
        assert_eq!(pace.steps(STEPS).unwrap_err().code(), ErrorCode::Cancelled, "the cancel comes first");
        assert_eq!(most(&mut Pace::endless()), None);
    }
}
