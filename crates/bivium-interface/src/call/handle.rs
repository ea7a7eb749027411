//! [`CallHandle`]: a call's cancel, deadline and progress.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CallId;
use crate::progress::Pace;
use crate::{PluginError, Progress, Result};

/// Controls and observes a call while it runs. Cheap to clone.
#[derive(Clone)]
pub struct CallHandle(Arc<Control>);

struct Control {
    id: CallId,
    /// Whether a handle has cancelled the call. Code that runs a call asks often, and asking a token takes a lock.
    is_cancelled: AtomicBool,
    /// Created when the first task waits for it or cancels the call. Most calls end without it.
    cancel: OnceLock<CancellationToken>,
    /// Other tokens that cancel the call too.
    tokens: OnceLock<Mutex<Vec<CancellationToken>>>,
    deadline: Deadline,
    /// Notified when a deadline or a token is added, so that waiting tasks take it into account.
    changed: Notify,
    progress: OnceLock<ProgressChannel>,
}

/// A point in time that can only become earlier. At first there is none. In nanoseconds since the first call of this process.
struct Deadline(AtomicU64);

impl Deadline {
    const NONE: u64 = u64::MAX;

    fn base() -> Instant {
        static BASE: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
        Instant::from_std(*BASE)
    }

    fn get(&self) -> Option<Instant> {
        match self.0.load(Ordering::Acquire) {
            Self::NONE => None,
            nanos => Self::base().checked_add(Duration::from_nanos(nanos)),
        }
    }

    /// Sets it, unless an earlier one is set. A time some centuries ahead counts as no deadline.
    fn bring_forward(&self, to: Instant) {
        let nanos = to.saturating_duration_since(Self::base()).as_nanos();
        self.0.fetch_min(u64::try_from(nanos).unwrap_or(Self::NONE), Ordering::AcqRel);
    }
}

/// The latest progress report of a call, and its pace.
#[derive(Clone)]
struct ProgressChannel {
    sender: watch::Sender<Progress>,
    pace: Arc<Mutex<Pace>>,
}

impl CallHandle {
    pub(super) fn new() -> Self {
        // All deadlines are counted from this time, so it must be set before the first one.
        Deadline::base();
        Self(Arc::new(Control {
            id: CallId::next(),
            is_cancelled: AtomicBool::new(false),
            cancel: OnceLock::new(),
            tokens: OnceLock::new(),
            deadline: Deadline(AtomicU64::new(Deadline::NONE)),
            changed: Notify::const_new(),
            progress: OnceLock::new(),
        }))
    }

    /// The control of another call with the same deadline and the same tokens that cancel it.
    pub(super) fn with_same_limits(&self) -> Self {
        let other = Self::new();
        if let Some(deadline) = self.deadline() {
            other.0.deadline.bring_forward(deadline);
        }
        for token in self.tokens() {
            other.add_token(token);
        }
        other
    }

    pub(super) fn bring_forward(&self, deadline: Instant) {
        self.0.deadline.bring_forward(deadline);
        self.0.changed.notify_waiters();
    }

    pub(super) fn add_token(&self, token: CancellationToken) {
        let tokens = self.0.tokens.get_or_init(Mutex::default);
        tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        self.0.changed.notify_waiters();
    }

    /// The other tokens that cancel the call.
    fn tokens(&self) -> Vec<CancellationToken> {
        let tokens = self.0.tokens.get();
        tokens.map(|tokens| tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// The call's id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.0.id
    }

    /// Asks the call to stop and returns at once. The call ends with `cancelled` soon after.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
        self.token().cancel();
    }

    /// Whether the call has been asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        if self.0.is_cancelled.load(Ordering::Acquire) {
            return true;
        }
        let tokens = self.0.tokens.get();
        tokens.is_some_and(|tokens| {
            tokens.lock().unwrap_or_else(PoisonError::into_inner).iter().any(CancellationToken::is_cancelled)
        })
    }

    fn token(&self) -> &CancellationToken {
        self.0.cancel.get_or_init(CancellationToken::new)
    }

    /// Waits until the call has been asked to stop.
    pub async fn cancelled(&self) {
        while self.next_end(false).await.is_none() {}
    }

    /// Waits for a cancel and, if `counts` is set, for the deadline. `None` if a deadline or a token was added meanwhile.
    async fn next_end(&self, counts: bool) -> Option<PluginError> {
        let mut changed = pin!(self.0.changed.notified());
        changed.as_mut().enable();
        let mut tokens: Vec<_> = self.tokens().into_iter().map(|token| Box::pin(token.cancelled_owned())).collect();
        let others = poll_fn(|cx| match tokens.iter_mut().any(|token| token.as_mut().poll(cx).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        let deadline = async {
            match self.deadline().filter(|_| counts) {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.token().cancelled() => Some(self.asked_to_stop()),
            () = others => Some(self.asked_to_stop()),
            () = deadline => Some(self.late()),
            () = changed => None,
        }
    }

    /// The time by which the call must have ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline.get()
    }

    /// The time left until the deadline, zero if it has passed; `None` if the call has no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Reports the call's progress. For code that runs calls. The time left is computed here.
    pub fn report(&self, mut progress: Progress) {
        let ProgressChannel { sender, pace } = self.channel();
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        progress.eta_s = pace.observe(Instant::now(), progress.fraction);
        sender.send_replace(progress);
    }

    /// The latest progress report, and a way to wait for the next one.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.channel().sender.subscribe()
    }

    /// Whether anybody listens to progress. If not, a runtime may leave out reports that cost time.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.0.progress.get().is_some_and(|channel| channel.sender.receiver_count() > 0)
    }

    fn channel(&self) -> &ProgressChannel {
        let new = || ProgressChannel { sender: watch::Sender::new(Progress::default()), pace: Arc::default() };
        self.0.progress.get_or_init(new)
    }

    /// The error with which the call must end, if it is cancelled or its deadline has passed.
    #[must_use]
    pub fn interruption(&self) -> Option<PluginError> {
        match self.is_cancelled() {
            true => Some(self.asked_to_stop()),
            false => self.overdue(),
        }
    }

    /// The error of the call if its deadline has passed.
    #[must_use]
    pub fn overdue(&self) -> Option<PluginError> {
        let is_late = self.deadline().is_some_and(|deadline| deadline <= Instant::now());
        is_late.then(|| self.late())
    }

    fn asked_to_stop(&self) -> PluginError {
        PluginError::cancelled("the call was cancelled").with_call(self.0.id)
    }

    fn late(&self) -> PluginError {
        PluginError::past_deadline().with_call(self.0.id)
    }

    /// Waits until the call is cancelled or its deadline has passed. Returns the error with which the call then ends.
    pub async fn interrupted(&self) -> PluginError {
        loop {
            if let Some(error) = self.next_end(true).await {
                return error;
            }
        }
    }

    /// Runs `work` until it ends or the call is interrupted; then `work` is dropped.
    ///
    /// The interruption is checked before each poll of `work`, so work that is always ready ends too.
    ///
    /// # Errors
    /// `cancelled`; `timeout`.
    pub async fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let (mut work, mut interrupted) = (pin!(work), None);
        poll_fn(|cx| {
            if let Some(error) = self.interruption() {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            // Most work ends at once, and then needs no timer and no waker.
            interrupted.get_or_insert_with(|| Box::pin(self.interrupted())).as_mut().poll(cx).map(Err)
        })
        .await
    }

    /// As [`unless_interrupted`](Self::unless_interrupted), for work that may fail.
    ///
    /// # Errors
    /// Those of `work`; `cancelled`; `timeout`.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.unless_interrupted(work).await?
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle").field("id", &self.0.id).field("cancelled", &self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, ErrorCode};

    #[tokio::test]
    async fn a_call_ends_by_its_result_its_token_or_its_deadline() {
        let call = Call::new().timeout(Duration::from_millis(1));
        assert_eq!(call.handle().guard(async { Ok(7) }).await.unwrap(), 7);
        let forever = || std::future::pending::<Result<()>>();
        assert_eq!(call.handle().guard(forever()).await.unwrap_err().code(), ErrorCode::Timeout);

        let call = Call::new();
        call.handle().cancel();
        let error = call.handle().guard(forever()).await.unwrap_err();
        assert_eq!((error.code(), error.call()), (ErrorCode::Cancelled, Some(call.id())));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_always_ready_is_interrupted_too() {
        for code in [ErrorCode::Cancelled, ErrorCode::Timeout] {
            let call = Call::new().timeout(Duration::from_millis(10));
            let mut done = 0;
            let error = loop {
                match call.handle().unless_interrupted(async { done += 1 }).await {
                    Ok(()) if done == 100 && code == ErrorCode::Cancelled => call.handle().cancel(),
                    Ok(()) if done == 100 => tokio::time::advance(Duration::from_millis(11)).await,
                    Ok(()) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!((error.code(), error.call(), done), (code, Some(call.id()), 100));
            assert_eq!(call.handle().interruption(), Some(error));
        }
        assert_eq!(Call::new().handle().interruption(), None);
    }

    #[test]
    fn the_earlier_deadline_holds() {
        let call = Call::new().timeout(Duration::from_secs(1)).timeout(Duration::from_secs(100));
        assert!(call.handle().remaining().unwrap() <= Duration::from_secs(1));
        assert!(Call::new().timeout(Duration::MAX).handle().deadline().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handle_taken_before_the_deadline_or_a_token_was_set_sees_both() {
        for code in [ErrorCode::Cancelled, ErrorCode::Timeout] {
            let call = Call::new();
            let early = call.handle().clone();
            let waits = tokio::spawn({
                let early = early.clone();
                async move { early.interrupted().await }
            });
            tokio::task::yield_now().await;
            let token = CancellationToken::new();
            let call =
                call.cancellation(token.clone()).timeout(Duration::from_secs(10)).cancellation(token.child_token());
            assert_eq!((early.deadline(), early.id()), (call.handle().deadline(), call.id()));
            tokio::task::yield_now().await;
            match code {
                ErrorCode::Cancelled => token.cancel(),
                _ => tokio::time::advance(Duration::from_secs(11)).await,
            }
            assert_eq!(waits.await.unwrap().code(), code);
            assert_eq!(early.interruption().unwrap().code(), code);
            assert_eq!(call.handle().interruption().unwrap().code(), code);
        }
        let call = Call::new();
        let early = call.handle().clone();
        let call = call.cancellation(CancellationToken::new()).timeout(Duration::from_secs(1));
        early.cancel();
        assert!(call.handle().is_cancelled());
    }

    #[tokio::test]
    async fn a_clone_is_another_call() {
        let token = CancellationToken::new();
        let call = Call::new().arg(1).timeout(Duration::from_secs(60)).cancellation(token.clone());
        let other = call.clone();
        assert_ne!(call.id(), other.id());
        assert_eq!((&other.positional, other.handle().deadline()), (&call.positional, call.handle().deadline()));
        let listener = call.handle().progress();
        other.handle().report(Progress::new(Some(0.5), ""));
        assert_eq!(*listener.borrow(), Progress::default());
        call.handle().cancel();
        assert!(!other.handle().is_cancelled());
        token.cancel();
        assert!(other.handle().is_cancelled());
        other.handle().cancelled().await;
    }

    #[test]
    fn progress_is_the_latest_value() {
        let call = Call::new();
        assert!(!call.handle().has_listener());
        let listener = call.handle().progress();
        call.handle().report(Progress::new(Some(0.5), "half"));
        assert_eq!(*listener.borrow(), Progress::new(Some(0.5), "half"));
        assert!(call.handle().has_listener());
    }

    #[tokio::test(start_paused = true)]
    async fn progress_says_how_long_it_will_take() {
        let call = Call::new();
        let listener = call.handle().progress();
        let call = call.timeout(Duration::from_secs(60));
        call.handle().report(Progress::new(Some(0.0), ""));
        tokio::time::advance(Duration::from_secs(10)).await;
        call.handle().report(Progress::new(Some(0.25), ""));
        assert_eq!(listener.borrow().eta_s.map(f64::round), Some(30.0));
    }
}
