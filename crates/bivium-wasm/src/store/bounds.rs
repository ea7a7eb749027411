//! [`Bounds`]: how long the plugin's code may run, and how it is stopped.
//!
//! Every call into a guest goes through [`Bounds::drive`]. The guest yields at each tick of the epoch, and a host function that waits is
//! an ordinary future, so this one place stops busy loops and waits alike.
//!
//! It reads the clock itself whenever the guest yields, and does not rely on the runtime's timers alone: a runtime whose threads are all
//! busy checks its timers late (tokio: once in 61 polls, each of which may last a tick).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use bivium_instances::overtime;
use bivium_interface::{CallHandle, ErrorCode, PluginError, Result};
use tokio::time::Instant;

use super::limits::StoreLimits;
use super::signals::Signals;
use super::work::Work;

/// The time limit of work that belongs to no call, if the manifest sets none.
const CONTROL: Duration = Duration::from_secs(60);

/// The time limit of `cleanup`.
const CLEANUP: Duration = Duration::from_secs(5);

/// The limits of one call with its stream, or of work that belongs to no call.
pub(crate) struct Bounds {
    call: Option<CallHandle>,
    /// Wall time in the guest. A reader's pauses between the results of a stream do not count.
    wall: Allowance,
    /// Processor time in the guest.
    cpu: Allowance,
    /// The instance ends after this work, so its closing does not interrupt it.
    last: bool,
    /// The guest ended by itself after its call was cancelled.
    ended_after_cancel: bool,
}

/// A limit of time, and how much of it is used.
#[derive(Clone, Copy)]
struct Allowance {
    limit: Option<Duration>,
    used: Duration,
}

impl Allowance {
    fn of_ms(limit: Option<u64>) -> Self {
        Self { limit: limit.map(Duration::from_millis), used: Duration::ZERO }
    }

    fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

impl Bounds {
    /// For a call: its own deadline and cancellation, and the limits of its plugin.
    pub(crate) fn of_call(call: &CallHandle, limits: &StoreLimits) -> Self {
        let (wall, cpu) = (Allowance::of_ms(limits.call_ms), Allowance::of_ms(limits.cpu_ms));
        Self { call: Some(call.clone()), wall, cpu, last: false, ended_after_cancel: false }
    }

    /// For work that belongs to no call.
    pub(crate) fn of_control(limits: &StoreLimits) -> Self {
        let mut wall = Allowance::of_ms(limits.call_ms);
        wall.limit.get_or_insert(CONTROL);
        Self { call: None, wall, cpu: Allowance::of_ms(limits.cpu_ms), last: false, ended_after_cancel: false }
    }

    /// For the last work in an instance that ends.
    pub(crate) fn of_cleanup(limits: &StoreLimits) -> Self {
        Self { last: true, ..Self::of_control(limits).at_most(CLEANUP) }
    }

    /// Lowers the limit of wall time to this.
    pub(crate) fn at_most(mut self, most: Duration) -> Self {
        self.wall.limit = Some(self.wall.limit.map_or(most, |limit| limit.min(most)));
        self
    }

    /// The call's deadline, or the end of the plugin's own time limit if that is earlier.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let call = self.call.as_ref().and_then(CallHandle::deadline);
        self.end_of_wall().into_iter().chain(call).min()
    }

    fn end_of_wall(&self) -> Option<Instant> {
        self.wall.left().and_then(|left| Instant::now().checked_add(left))
    }

    /// The error of a call that is over before its plugin is called.
    pub(crate) fn check(&self) -> Result<()> {
        self.call.as_ref().and_then(CallHandle::interruption).map_or(Ok(()), Err)
    }

    /// The error of an answer that came too late: the caller may have gone on without it.
    pub(crate) fn in_time(&self) -> Result<()> {
        if let Some(error) = self.call.as_ref().and_then(CallHandle::overdue) {
            return Err(error);
        }
        if let Some(limit) = self.wall.limit.filter(|limit| self.wall.used > *limit) {
            return Err(overtime("computed", limit, "call_ms"));
        }
        Ok(())
    }

    /// Runs the guest until `work` ends. An error means that `work` was dropped in the middle.
    pub(crate) async fn drive<T>(&mut self, signals: &Signals, work: impl Future<Output = T>) -> Result<T> {
        let started = self.wall.limit.map(|_| Instant::now());
        let end_of_wall = self.end_of_wall();
        let cpu = self.cpu.limit.map(|_| self.cpu.used);
        let mut work = Work { work: pin!(work), cpu, ticker: &signals.ticker };
        let mut ended = {
            let (mut event, mut on_cancel) = (None, None);
            let mut entered = false;
            poll_fn(|cx| {
                // Checked before the guest runs, which may compute for a tick: otherwise the last of many calls that are cancelled together
                // would end many ticks late. A call that ends at its first poll, as most do, needs no clock, timer or waker.
                if std::mem::replace(&mut entered, true)
                    && let Some(error) = self.stop_reason(signals, end_of_wall, work.cpu)
                {
                    return Poll::Ready(Err(error));
                }
                if let Poll::Ready(done) = work.poll(cx) {
                    return Poll::Ready(Ok(done));
                }
                if let Some(error) = self.stop_reason(signals, end_of_wall, work.cpu) {
                    return Poll::Ready(Err(error));
                }
                if let (None, Some(call)) = (&on_cancel, &self.call) {
                    on_cancel = Some(signals.yield_on_cancel(call));
                }
                ready!(event.get_or_insert_with(|| Box::pin(self.event(signals))).as_mut().poll(cx));
                Poll::Ready(Err(self
                    .stop_reason(signals, end_of_wall, work.cpu)
                    .unwrap_or_else(PluginError::past_deadline)))
            })
            .await
        };
        if let Err(error) = &ended
            && error.code() == ErrorCode::Cancelled
            && signals.asked.load(Ordering::Relaxed)
            && let Some(done) = Box::pin(work.within_grace()).await
        {
            self.ended_after_cancel = true;
            ended = Ok(done);
        }
        self.cpu.used = work.cpu.unwrap_or_default();
        if let Some(started) = started {
            self.wall.used += started.elapsed();
        }
        ended
    }

    /// If a cancelled guest ended with an error of its own, that error is replaced by the cancellation.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        match &self.call {
            Some(call) if self.ended_after_cancel => call.interruption().unwrap_or(error),
            _ => error,
        }
    }

    /// Why the guest must stop; `None` if it may go on.
    fn stop_reason(
        &self,
        signals: &Signals,
        end_of_wall: Option<Instant>,
        cpu: Option<Duration>,
    ) -> Option<PluginError> {
        if let Err(error) = self.check() {
            return Some(error);
        }
        if !self.last && signals.closing.is_cancelled() {
            return Some(PluginError::unavailable("the plugin was unloaded while it ran").with_help("load it again"));
        }
        if let Some(limit) = self.wall.limit.filter(|_| end_of_wall.is_some_and(|end| Instant::now() >= end)) {
            return Some(overtime("computed", limit, "call_ms"));
        }
        let limit = self.cpu.limit.filter(|limit| cpu > Some(*limit))?;
        Some(overtime("used the processor", limit, "cpu_ms"))
    }

    /// Waits until there may be a reason to stop.
    async fn event(&self, signals: &Signals) {
        let wall = async {
            match self.end_of_wall() {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let call = async {
            match &self.call {
                Some(call) => drop(call.interrupted().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = call => {}
            () = signals.closing.cancelled(), if !self.last => {}
            () = wall => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::ticker::Ticker;
    use super::super::work::processor_time;
    use super::*;
    use bivium_interface::Call;
    use bivium_interface::manifest::Limits;
    use futures_util::FutureExt as _;

    fn call_with(call_ms: Option<u64>) -> (Call, Bounds) {
        let call = Call::new();
        let mut limits = Limits::default();
        limits.call_ms = call_ms;
        let limits = StoreLimits::new(&limits);
        let bounds = Bounds::of_call(call.handle(), &limits);
        (call, bounds)
    }

    fn signals() -> Signals {
        Signals::new(&Arc::new(Ticker::start(&wasmtime::Engine::default()).unwrap()))
    }

    #[tokio::test]
    async fn the_limit_counts_the_guests_time_and_not_its_readers_pauses() {
        let limit = 30;
        let ((_call, mut bounds), signals) = (call_with(Some(limit)), signals());
        bounds.drive(&signals, async {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(limit * 2)).await;
        bounds.drive(&signals, async {}).await.unwrap();
        let error = bounds.drive(&signals, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.to_string().contains("limits.call_ms"), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_none() {
        let spin = |time: Duration| async move {
            let end = Instant::now() + time;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
        };
        let ((_call, mut bounds), signals) = (call_with(Some(20)), signals());
        bounds.drive(&signals, spin(Duration::ZERO)).await.unwrap();
        bounds.in_time().unwrap();
        bounds.drive(&signals, spin(Duration::from_millis(30))).await.unwrap();
        let error = bounds.in_time().unwrap_err();
        assert!(error.code() == ErrorCode::Timeout && error.to_string().contains("limits.call_ms"), "{error}");

        let call = Call::new().timeout(Duration::from_millis(20));
        let mut bounds = Bounds::of_call(call.handle(), &StoreLimits::new(&Limits::default()));
        bounds.in_time().unwrap();
        bounds.drive(&signals, spin(Duration::from_millis(30))).await.unwrap();
        assert_eq!(bounds.in_time().unwrap_err().code(), ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn a_cancelled_guest_has_a_grace_time() {
        let ((call, mut bounds), signals) = (call_with(None), signals());
        call.handle().cancel();
        assert_eq!(bounds.check().unwrap_err().code(), ErrorCode::Cancelled);
        let error = bounds.drive(&signals, tokio::task::yield_now()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Cancelled, "it never asked");
        signals.asked.store(true, Ordering::Relaxed);
        bounds.drive(&signals, tokio::task::yield_now()).await.unwrap();
        let own = PluginError::not_found("what the guest says");
        assert_eq!(bounds.explain(own).code(), ErrorCode::Cancelled);
        let error = bounds.drive(&signals, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Cancelled);
    }

    /// Of many guests that are cancelled together, none computes for another tick.
    #[tokio::test]
    async fn a_guest_that_may_not_go_on_is_not_polled_again() {
        for end in ["cancel", "deadline", "close"] {
            let signals = signals();
            let call = if end == "deadline" { Call::new().timeout(Duration::from_millis(20)) } else { Call::new() };
            let mut bounds = Bounds::of_call(call.handle(), &StoreLimits::new(&Limits::default()));
            let polls = std::cell::Cell::new(0);
            let work = poll_fn(|cx| {
                polls.set(polls.get() + 1);
                match end {
                    "cancel" => call.handle().cancel(),
                    "close" => signals.closing.cancel(),
                    _ => {}
                }
                // It has computed and wants to go on.
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            });
            // The deadline passes after the check that follows the poll.
            let mut driven = pin!(bounds.drive(&signals, work));
            if end == "deadline" {
                assert!(driven.as_mut().now_or_never().is_none());
                std::thread::sleep(Duration::from_millis(25));
            }
            driven.await.unwrap_err();
            assert_eq!(polls.get(), 1, "{end}");
        }
    }

    #[tokio::test]
    async fn an_instance_that_closes_stops_at_once() {
        let (limits, signals) = (StoreLimits::new(&Limits::default()), signals());
        let mut bounds = Bounds::of_control(&limits);
        signals.closing.cancel();
        let error = bounds.drive(&signals, std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        Bounds::of_cleanup(&limits).drive(&signals, tokio::task::yield_now()).await.unwrap();
    }

    #[tokio::test]
    async fn processor_time_counts_over_the_whole_call_and_waiting_does_not() {
        let mut limits = Limits::default();
        limits.cpu_ms = Some(40);
        let limits = StoreLimits::new(&limits);
        let call = Call::new();
        let (mut bounds, signals) = (Bounds::of_call(call.handle(), &limits), signals());
        // Like a guest that computes without end: it yields at each tick.
        let spin = async |enough: Duration| {
            let begun = processor_time();
            while processor_time() - begun < enough {
                tokio::task::yield_now().await;
            }
        };
        bounds.drive(&signals, spin(Duration::from_millis(15))).await.unwrap();
        bounds.drive(&signals, tokio::time::sleep(Duration::from_millis(60))).await.unwrap();
        let error = bounds.drive(&signals, spin(Duration::from_secs(60))).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.to_string().contains("limits.cpu_ms"), "{error}");
    }
}
