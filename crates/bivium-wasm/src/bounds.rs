//! [`Bounds`]: until when the plugin's code may run, and how it is stopped.
//!
//! Every entry into a guest goes through [`Bounds::drive`]. The guest yields at each tick of the epoch, and a host call
//! that waits is a future like any other, so one `select!` ends busy loops and waits alike.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bivium_interface::{CallHandle, ErrorCode, PluginError, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a cancelled guest may go on, to see that it is cancelled and to end by itself. Its instance then lives on.
const GRACE: Duration = Duration::from_millis(20);

/// How long an entry that belongs to no call may take where the manifest does not say.
const CONTROL: Duration = Duration::from_secs(60);

/// What holds for one call, its stream included, or for one entry outside of calls.
pub(crate) struct Bounds {
    call: Option<CallHandle>,
    /// Time that the guest may still compute: a reader's pauses between the results of a stream do not count.
    left: Option<Duration>,
    limit: Option<Duration>,
    /// Cancelled when the instance must go.
    closing: CancellationToken,
    /// The guest ended by itself after its call was cancelled.
    gave_up: bool,
}

impl Bounds {
    /// For a call: its own deadline and cancellation, and the manifest's `limits.call_ms`.
    pub(crate) fn of_call(call: &CallHandle, call_ms: Option<u64>, closing: &CancellationToken) -> Self {
        let limit = call_ms.map(Duration::from_millis);
        Self { call: Some(call.clone()), left: limit, limit, closing: closing.clone(), gave_up: false }
    }

    /// For an entry outside of calls.
    pub(crate) fn of_control(call_ms: Option<u64>, closing: &CancellationToken) -> Self {
        let limit = Some(call_ms.map_or(CONTROL, Duration::from_millis));
        Self { call: None, left: limit, limit, closing: closing.clone(), gave_up: false }
    }

    /// At most this long.
    pub(crate) fn at_most(mut self, most: Duration) -> Self {
        self.left = Some(self.left.map_or(most, |left| left.min(most)));
        self.limit = self.left;
        self
    }

    /// The call's deadline or the end of what its plugin may compute, whichever comes first.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let limit = self.left.and_then(|left| Instant::now().checked_add(left));
        let call = self.call.as_ref().and_then(CallHandle::deadline);
        limit.into_iter().chain(call).min()
    }

    /// The error of a call that is over before its plugin is entered.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(call) = &self.call else { return Ok(()) };
        if call.is_cancelled() {
            return Err(cancelled());
        }
        if call.remaining().is_some_and(|left| left.is_zero()) {
            return Err(late());
        }
        Ok(())
    }

    /// Runs the guest until `work` ends. An error means that `work` was dropped in the middle.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let started = self.left.map(|_| Instant::now());
        let mut work = pin!(work);
        // The work comes first: a call that ends at its first poll, as most do, pays for no timer and no waker.
        let interruption = tokio::select! {
            biased;
            done = &mut work => Ok(done),
            error = self.interrupted() => Err(error),
        };
        if let (Some(left), Some(started)) = (&mut self.left, started) {
            *left = left.saturating_sub(started.elapsed());
        }
        match interruption {
            Err(error) if error.code() == ErrorCode::Cancelled => {
                let ended = tokio::time::timeout(GRACE, work).await.map_err(|_| error);
                self.gave_up = ended.is_ok();
                ended
            }
            ended => ended,
        }
    }

    /// What a guest that was cancelled and ended with an error says is of no interest: the call was cancelled.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        if self.gave_up { cancelled() } else { error }
    }

    async fn interrupted(&self) -> PluginError {
        let limit = async {
            match self.left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let call = async {
            match &self.call {
                Some(call) => call.interrupted().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = call => error,
            () = self.closing.cancelled() => {
                PluginError::unavailable("the plugin was unloaded while it ran").with_help("load it again")
            }
            () = limit => self.over_limit(),
        }
    }

    fn over_limit(&self) -> PluginError {
        let limit = self.limit.unwrap_or_default().as_millis();
        PluginError::timeout(format!("the plugin computed for longer than its limit of {limit} ms"))
            .with_help("raise `limits.call_ms` in its manifest")
    }
}

fn cancelled() -> PluginError {
    PluginError::cancelled("the call was cancelled")
}

fn late() -> PluginError {
    PluginError::timeout("the call did not end before its deadline")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::Call;

    fn call_with(call_ms: Option<u64>) -> (Call, Bounds) {
        let call = Call::new();
        let bounds = Bounds::of_call(call.handle(), call_ms, &CancellationToken::new());
        (call, bounds)
    }

    #[tokio::test]
    async fn the_limit_counts_what_the_guest_computes_and_not_its_readers_pauses() {
        let limit = 30;
        let (_call, mut bounds) = call_with(Some(limit));
        bounds.drive(async {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(limit * 2)).await;
        bounds.drive(async {}).await.unwrap();
        let error = bounds.drive(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.to_string().contains("limits.call_ms"), "{error}");
    }

    #[tokio::test]
    async fn a_cancelled_guest_has_a_grace() {
        let (call, mut bounds) = call_with(None);
        call.handle().cancel();
        assert_eq!(bounds.check().unwrap_err().code(), ErrorCode::Cancelled);
        bounds.drive(tokio::task::yield_now()).await.unwrap();
        let own = PluginError::not_found("what the guest says");
        assert_eq!(bounds.explain(own).code(), ErrorCode::Cancelled);
        let error = bounds.drive(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Cancelled);
    }

    #[tokio::test]
    async fn an_instance_that_closes_stops_at_once() {
        let closing = CancellationToken::new();
        let mut bounds = Bounds::of_control(None, &closing);
        closing.cancel();
        let error = bounds.drive(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
    }
}
