//! [`Work`]: the guest at work, and the processor time that it takes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::ticker::Ticker;

/// How long a cancelled guest may go on that has asked whether it is cancelled: to see it and to end by itself. Its
/// instance then lives on.
const GRACE: Duration = Duration::from_millis(20);

/// The guest at work, and the processor time that it takes where that counts.
pub(super) struct Work<'a, F> {
    pub(super) work: F,
    pub(super) cpu: Option<Duration>,
    pub(super) ticker: &'a Ticker,
}

impl<F: Future + Unpin> Work<'_, F> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        // A guest runs on the thread that polls it, and from one poll to its end on no other.
        let before = self.cpu.map(|_| processor_time());
        let _running = self.ticker.running();
        let polled = Pin::new(&mut self.work).poll(cx);
        if let (Some(cpu), Some(before)) = (&mut self.cpu, before) {
            *cpu += processor_time().saturating_sub(before);
        }
        polled
    }

    /// What it still does within [`GRACE`]; none if it does not end.
    pub(super) async fn for_a_grace(&mut self) -> Option<F::Output> {
        // Others may have been cancelled with it: each has its turn in time.
        self.ticker.hurry(GRACE);
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

/// Processor time of this thread.
pub(super) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative, and the second is below a thousand million.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
