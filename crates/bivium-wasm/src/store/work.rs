//! [`Work`]: a running guest, and its processor time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::ticker::Ticker;

/// How long a cancelled guest may go on if it has asked whether it is cancelled, so that it can end by itself. Its instance then stays
/// in use.
const GRACE: Duration = Duration::from_millis(20);

/// A running guest, and its processor time if that is limited.
pub(super) struct Work<'a, F> {
    pub(super) work: F,
    pub(super) cpu: Option<Duration>,
    pub(super) ticker: &'a Ticker,
}

impl<F: Future + Unpin> Work<'_, F> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        // During one poll the guest runs on this thread only.
        let before = self.cpu.map(|_| processor_time());
        let _running = self.ticker.running();
        let polled = Pin::new(&mut self.work).poll(cx);
        if let (Some(cpu), Some(before)) = (&mut self.cpu, before) {
            *cpu += processor_time().saturating_sub(before);
        }
        polled
    }

    /// Its result if it ends within [`GRACE`]; `None` if not.
    pub(super) async fn within_grace(&mut self) -> Option<F::Output> {
        // Others may have been cancelled at the same time: each should get a turn.
        self.ticker.tick_fast(GRACE);
        let end = Instant::now() + GRACE;
        let mut timer = pin!(tokio::time::sleep_until(end));
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if Instant::now() >= end => Poll::Ready(None),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

/// The processor time of this thread.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative, and the second is below 10^9.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
