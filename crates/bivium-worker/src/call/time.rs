//! [`Time`]: how long the plugin may still take for a call (`limits.call_ms`).

use std::time::Duration;

use bivium_instances::overtime;
use bivium_interface::{CallHandle, Result};
use tokio::time::{Instant, timeout};

use crate::call::payload::CallLimits;

/// Only the time that the host waits for the plugin counts: a stream's reader may take as long as it likes in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// The limit, and how much of it is left.
    left: Option<(Duration, Duration)>,
}

impl Time {
    pub(crate) fn new(limits: CallLimits) -> Self {
        Self { left: limits.time.map(|limit| (limit, limit)) }
    }

    /// Waits for the plugin until the call is interrupted or its time is used up. In both cases the plugin still runs.
    ///
    /// # Errors
    /// `cancelled`; `timeout`.
    pub(crate) async fn spend<T>(&mut self, call: &CallHandle, work: impl Future<Output = T>) -> Result<T> {
        let work = call.unless_interrupted(work);
        let Some((limit, left)) = self.left else { return work.await };
        let begun = Instant::now();
        let done = timeout(left, work).await;
        let left = left.saturating_sub(begun.elapsed());
        self.left = Some((limit, left));
        match done {
            Ok(Err(interrupted)) => Err(interrupted),
            // A result that arrives after the time is over does not count.
            Ok(Ok(done)) if !left.is_zero() => Ok(done),
            _ => Err(overtime("ran", limit, "call_ms").with_call(call.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use bivium_instances::document::DocumentLimits;
    use bivium_interface::{Call, ErrorCode};
    use tokio::time::{advance, sleep};

    use super::*;

    fn time(limit: Option<u64>) -> Time {
        let document = DocumentLimits { text: 1, held: 1 };
        Time::new(CallLimits { document, blob_mb: None, time: limit.map(Duration::from_millis) })
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_that_the_plugin_is_waited_for_counts() {
        let (call, mut time) = (Call::new(), time(Some(100)));
        for _ in 0..3 {
            time.spend(call.handle(), sleep(Duration::from_millis(30))).await.unwrap();
            advance(Duration::from_secs(60)).await;
        }
        let error = time.spend(call.handle(), sleep(Duration::from_millis(30))).await.unwrap_err();
        assert_eq!((error.code(), error.call()), (ErrorCode::Timeout, Some(call.id())));
        assert!(error.to_string().contains("its limit of 100 ms") && error.to_string().contains("limits.call_ms"));
        let error = time.spend(call.handle(), ready(())).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout, "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn the_calls_own_deadline_and_cancel_hold_too() {
        let call = Call::new().timeout(Duration::from_millis(50));
        let error = time(Some(100)).spend(call.handle(), pending::<()>()).await.unwrap_err();
        assert!(!error.to_string().contains("call_ms"), "{error}");
        let call = Call::new();
        call.handle().cancel();
        assert_eq!(time(None).spend(call.handle(), ready(())).await.unwrap_err().code(), ErrorCode::Cancelled);
        assert_eq!(time(None).spend(Call::new().handle(), ready(7)).await.unwrap(), 7);
    }
}
