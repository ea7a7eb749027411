//! [`Call`]: one execution, with its own id, deadline, cancellation and progress.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::progress::Pace;
use crate::{Admit, Blob, Payload, PluginError, Progress, Result};

/// The id of a call. Unique in this host, and almost certainly among all hosts of a machine. Written as 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

impl CallId {
    /// A new id.
    #[must_use]
    pub fn next() -> Self {
        /// A thread takes this many ids at once, so that threads do not contend for one counter.
        const BLOCK: u64 = 1 << 10;
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
            // Starts from the time in nanoseconds, multiplied as in a hash, so that two hosts do not use the same ids in shared logs.
            let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
            let seed = u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default();
            let seed = (seed ^ u64::from(std::process::id())).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            AtomicU64::new(seed & !(BLOCK - 1))
        });
        thread_local! {
            static LAST: Cell<u64> = const { Cell::new(BLOCK - 1) };
        }
        LAST.with(|last| {
            let mut id = last.get().wrapping_add(1);
            if id.is_multiple_of(BLOCK) {
                id = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
            }
            last.set(id);
            Self(id)
        })
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CallId {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        id.map(Self)
            .ok_or_else(|| PluginError::invalid_input(format!("{text:?} is not a call id (16 hexadecimal digits)")))
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

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
    fn new() -> Self {
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
    fn with_same_limits(&self) -> Self {
        let other = Self::new();
        if let Some(deadline) = self.deadline() {
            other.0.deadline.bring_forward(deadline);
        }
        for token in self.tokens() {
            other.add_token(token);
        }
        other
    }

    fn bring_forward(&self, deadline: Instant) {
        self.0.deadline.bring_forward(deadline);
        self.0.changed.notify_waiters();
    }

    fn add_token(&self, token: CancellationToken) {
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

/// One execution of a plugin: a method, arguments, the blobs that they name, and a [`CallHandle`].
///
/// In the arguments `{"$blob": n}` stands for the n-th of [`blobs`](Self::blobs). Data that only looks like that is written with
/// [`escape`](crate::escape).
///
/// A clone is another call: it has its own id, progress and cancellation, and the same deadline and tokens as the original.
#[non_exhaustive]
pub struct Call {
    /// The method; [`Call::EXECUTE`] by default.
    pub method: Cow<'static, str>,
    /// Positional arguments.
    pub positional: Vec<Value>,
    /// Named arguments.
    pub named: Map<String, Value>,
    /// The blobs that the arguments name by index.
    pub blobs: Vec<Blob>,
    /// Data about the call beside its arguments, for plugins of cjm-plugin-system: their call envelope, with `control`, `run_id`,
    /// `actor` and so on. Other plugins do not see it.
    pub envelope: Map<String, Value>,
    handle: CallHandle,
    admit: Option<Arc<dyn Admit>>,
}

impl Clone for Call {
    fn clone(&self) -> Self {
        Self {
            method: self.method.clone(),
            positional: self.positional.clone(),
            named: self.named.clone(),
            blobs: self.blobs.clone(),
            envelope: self.envelope.clone(),
            handle: self.handle.with_same_limits(),
            admit: self.admit.clone(),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("Call");
        call.field("method", &self.method).field("positional", &self.positional).field("named", &self.named);
        call.field("blobs", &self.blobs).field("envelope", &self.envelope).field("handle", &self.handle);
        call.finish_non_exhaustive()
    }
}

impl Default for Call {
    fn default() -> Self {
        Self::new()
    }
}

impl Call {
    /// The method that every plugin has.
    pub const EXECUTE: &str = "execute";

    /// A call of [`Call::EXECUTE`] without arguments and without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self {
            method: Cow::Borrowed(Self::EXECUTE),
            positional: Vec::new(),
            named: Map::new(),
            blobs: Vec::new(),
            envelope: Map::new(),
            handle: CallHandle::new(),
            admit: None,
        }
    }

    /// Calls another method.
    #[must_use]
    pub fn method(mut self, method: impl Into<Cow<'static, str>>) -> Self {
        self.method = method.into();
        self
    }

    /// Adds a positional argument.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Value>) -> Self {
        self.positional.push(value.into());
        self
    }

    /// Adds a named argument.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.named.insert(name.into(), value.into());
        self
    }

    /// Adds a blob as a named argument.
    #[must_use]
    pub fn blob(mut self, name: impl Into<String>, blob: Blob) -> Self {
        let reference = Payload::reference(self.blobs.len());
        self.blobs.push(blob);
        self.named(name, reference)
    }

    /// Adds a key to the call's envelope ([`envelope`](Self::envelope)).
    #[must_use]
    pub fn envelope(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.envelope.insert(key.into(), value.into());
        self
    }

    /// Adds the keys of a payload's object as named arguments, and its blobs to the blobs of the call.
    ///
    /// # Errors
    /// `invalid-input` if the payload is not an object or names a blob that it does not have.
    pub fn named_from(mut self, payload: Payload) -> Result<Self> {
        let offset = self.blobs.len();
        let payload = payload.checked()?.shifted(offset);
        let Value::Object(named) = payload.json else {
            return Err(PluginError::invalid_input("the arguments are not a JSON object"));
        };
        if self.named.is_empty() {
            self.named = named;
        } else {
            self.named.extend(named);
        }
        self.blobs.extend(payload.blobs);
        Ok(self)
    }

    /// Sets the deadline to `timeout` from now. It covers waiting in the queue, starting an instance, the call and its stream.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        // A timeout that is too long to add means no deadline.
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    /// Sets the deadline, unless an earlier one is set. It also applies to handles that were taken before.
    #[must_use]
    pub fn deadline(self, deadline: Instant) -> Self {
        self.handle.bring_forward(deadline);
        self
    }

    /// Makes `token` cancel the call too, beside its handles and other tokens. Cancelling the call does not cancel `token`.
    #[must_use]
    pub fn cancellation(self, token: CancellationToken) -> Self {
        self.handle.add_token(token);
        self
    }

    /// Makes `admit` decide when the call may start, once it has a place in its plugin. Plugins that are loaded from a manifest ask it,
    /// and hold the [`Admission`](crate::Admission) until the call or its stream has ended.
    #[must_use]
    pub fn admitted_by(mut self, admit: Arc<dyn Admit>) -> Self {
        self.admit = Some(admit);
        self
    }

    /// Takes [`admitted_by`](Self::admitted_by)'s value out of the call. For code that runs calls.
    pub fn take_admit(&mut self) -> Option<Arc<dyn Admit>> {
        self.admit.take()
    }

    /// The call's id.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.handle.id()
    }

    /// The handle that controls and observes the call.
    #[must_use]
    pub fn handle(&self) -> &CallHandle {
        &self.handle
    }

    /// A named argument, decoded.
    ///
    /// # Errors
    /// `invalid-input` if it is missing or does not decode.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.named.get(name).unwrap_or(&Value::Null);
        T::deserialize(value).map_err(|error| {
            let what = if self.named.contains_key(name) { error.to_string() } else { "it is missing".to_owned() };
            PluginError::invalid_input(format!("argument {name:?}: {what}")).with_call(self.id())
        })
    }

    /// The arguments as one JSON document, for plugins that take one: the object of the named arguments, or the array of the
    /// positional ones.
    ///
    /// # Errors
    /// `invalid-input` if there are both.
    pub fn document(&self) -> Result<Value> {
        match (self.positional.is_empty(), self.named.is_empty()) {
            (true, _) => Ok(Value::Object(self.named.clone())),
            (false, true) => Ok(Value::Array(self.positional.clone())),
            (false, false) => Err(PluginError::invalid_input(
                "this plugin takes either positional or named arguments, but the call has both",
            )
            .with_call(self.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorCode;

    #[test]
    fn ids_differ_and_survive_text() {
        let (a, b) = (CallId::next(), CallId::next());
        assert_ne!(a, b);
        assert_eq!(a.to_string().parse::<CallId>().unwrap(), a);
        for wrong in ["", "1", "+000000000000001", "00000000000000000", "zzzzzzzzzzzzzzzz"] {
            assert_eq!(wrong.parse::<CallId>().unwrap_err().code(), ErrorCode::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn ids_of_several_threads_differ() {
        // More ids than a thread takes at once.
        let ids = || (0..3000).map(|_| CallId::next()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let all: std::collections::HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 4 * 3000);
    }

    #[test]
    fn a_document_is_named_or_positional() {
        assert_eq!(Call::new().named("a", 1).document().unwrap(), json!({"a": 1}));
        assert_eq!(Call::new().arg(1).arg("x").document().unwrap(), json!([1, "x"]));
        assert_eq!(Call::new().document().unwrap(), json!({}));
        assert_eq!(Call::new().arg(1).named("a", 1).document().unwrap_err().code(), ErrorCode::InvalidInput);
    }

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
