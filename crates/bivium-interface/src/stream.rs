//! [`PayloadStream`]: the results of a streaming call.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::lock::Mutex;
use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::{CallHandle, CallId, Payload, PluginError, Result};

/// How long a stream may take to end once its call is interrupted. A component ends at once. A worker is ended after 2 s, which
/// itself takes some time. A stream that takes longer than this is dropped.
const END_TIME: Duration = Duration::from_secs(8);

type Results = Pin<Box<dyn Stream<Item = Result<Payload>> + Send>>;

/// The results of a streaming call, in order. A result is made only when it is asked for, so a slow reader slows the plugin down. The
/// first error ends the stream. Dropping the stream cancels the call.
pub struct PayloadStream {
    kind: Kind,
    /// Changes each error on its way to the reader.
    of_error: Option<OfError>,
}

type OfError = Box<dyn Fn(PluginError) -> PluginError + Send>;

enum Kind {
    Plain(Results),
    Bound(Bound),
}

/// As [`PayloadStream`], with each result read into the caller's own type.
pub type TypedStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// Called with the outcome when the stream ends; returns the outcome that its reader gets.
type AtEnd = Box<dyn FnOnce(Result<()>) -> Result<()> + Send>;

/// A stream that ends at once when its call is interrupted or its plugin is unloaded, even if results are always ready because the
/// reader is slow, and even if the reader has stopped reading.
struct Bound {
    call: CallHandle,
    shared: Arc<Shared>,
    watch: AbortHandle,
}

struct Shared {
    state: Mutex<State>,
    /// Set by the watch when the plugin ends. If results are always ready, the reader holds `state` and the watch cannot get it.
    is_unloading: AtomicBool,
    /// Values that are dropped after the stream has ended; `None` from then on.
    held: SyncMutex<Option<Vec<Box<dyn Any + Send>>>>,
    /// Woken when the watch has ended the stream.
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// Dropped before the held values, because it may still use them.
    inner: Option<PayloadStream>,
    at_end: Option<AtEnd>,
    /// The error with which the watch ended the stream, until the reader takes it.
    error: Option<PluginError>,
}

impl PayloadStream {
    /// A stream of these results. If a plugin of the host's own type returns it, the manager ends it with its call.
    pub fn new(results: impl Stream<Item = Result<Payload>> + Send + 'static) -> Self {
        Self::of(Kind::Plain(Box::pin(results)))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, of_error: None }
    }

    /// Changes each error on its way to the reader. The stream stays bound to its call.
    #[must_use]
    pub fn map_errors(mut self, change: impl Fn(PluginError) -> PluginError + Send + 'static) -> Self {
        self.of_error = Some(match self.of_error.take() {
            Some(first) => Box::new(move |error| change(first(error))),
            None => Box::new(change),
        });
        self
    }

    /// Ends this stream when its call is interrupted, or when `ending` is cancelled because the plugin is unloaded, whether anybody
    /// reads it or not. `at_end` is called with the outcome and returns the outcome that the reader gets. If the stream is dropped,
    /// `at_end` is dropped without being called. Call it within a tokio runtime.
    #[must_use]
    pub fn bound(
        self,
        call: &CallHandle,
        ending: &CancellationToken,
        at_end: impl FnOnce(Result<()>) -> Result<()> + Send + 'static,
    ) -> Self {
        let state = State { inner: Some(self), at_end: Some(Box::new(at_end)), error: None };
        let (state, held) = (Mutex::new(state), SyncMutex::new(Some(Vec::new())));
        let shared = Arc::new(Shared { state, is_unloading: AtomicBool::new(false), held, reader: AtomicWaker::new() });
        let watch = tokio::spawn(watch(Arc::clone(&shared), call.clone(), ending.clone())).abort_handle();
        Self::of(Kind::Bound(Bound { call: call.clone(), shared, watch }))
    }

    /// Ends this stream with its call, as [`bound`](Self::bound) does, and holds `held` until the stream has ended.
    #[must_use]
    pub fn holding(self, call: &CallHandle, held: impl Send + 'static) -> Self {
        let bound = match self.is_bound_to(call.id()) {
            true => self,
            false => self.bound(call, &CancellationToken::new(), |outcome| outcome),
        };
        if let Kind::Bound(bound) = &bound.kind {
            bound.shared.hold(Box::new(held));
        }
        bound
    }

    fn is_bound_to(&self, id: CallId) -> bool {
        matches!(&self.kind, Kind::Bound(bound) if bound.call.id() == id)
    }
}

impl fmt::Debug for PayloadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadStream").finish_non_exhaustive()
    }
}

impl Stream for PayloadStream {
    type Item = Result<Payload>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(match &mut self.kind {
            Kind::Plain(results) => results.as_mut().poll_next(cx),
            Kind::Bound(bound) => bound.poll_next(cx),
        });
        Poll::Ready(match (item, &self.of_error) {
            (Some(Err(error)), Some(change)) => Some(Err(change(error))),
            (item, _) => item,
        })
    }
}

impl Shared {
    fn hold(&self, held: Box<dyn Any + Send>) {
        let left = match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(all) => {
                all.push(held);
                None
            }
            // The stream has ended.
            None => Some(held),
        };
        // Dropped without the lock.
        drop(left);
    }

    /// Ends the stream with this state, and drops the held values.
    fn end(&self, state: &mut State, outcome: Result<()>) -> Option<PluginError> {
        state.inner = None;
        let error = state.at_end.take().and_then(|at_end| at_end(outcome).err());
        self.release();
        error
    }

    fn release(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Dropped without the lock.
        drop(held);
    }

    /// The next item. If the call is interrupted, a further result is discarded and the stream ends.
    fn poll(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
        interrupted: Option<PluginError>,
    ) -> Poll<Option<Result<Payload>>> {
        let Some(inner) = state.inner.as_mut() else {
            return Poll::Ready(state.error.take().map(Err));
        };
        let error = match (ready!(Pin::new(inner).poll_next(cx)), interrupted) {
            (Some(Ok(payload)), None) => return Poll::Ready(Some(Ok(payload))),
            (Some(Err(error)), _) | (_, Some(error)) => self.end(state, Err(error)),
            (None, None) => self.end(state, Ok(())),
        };
        Poll::Ready(error.map(Err))
    }
}

/// Ends the stream when its call must end, even if the reader does not poll it.
async fn watch(shared: Arc<Shared>, call: CallHandle, ending: CancellationToken) {
    let error = tokio::select! {
        biased;
        () = ending.cancelled() => {
            shared.is_unloading.store(true, Ordering::Release);
            None
        }
        error = call.interrupted() => Some(error),
    };
    let mut state = shared.state.lock().await;
    let ended = match error {
        None => shared.end(&mut state, Err(PluginError::unloading())),
        Some(error) => {
            // The code that runs the call notices the interruption too, and knows best how the call ended.
            let last = std::future::poll_fn(|cx| shared.poll(&mut state, cx, Some(error.clone())));
            match tokio::time::timeout(END_TIME, last).await {
                Ok(last) => last.and_then(Result::err),
                Err(_) => shared.end(&mut state, Err(error)),
            }
        }
    };
    state.error = ended;
    drop(state);
    shared.reader.wake();
}

impl Bound {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Payload>>> {
        let mut state = match self.shared.state.try_lock() {
            Some(state) => state,
            None => {
                // The watch has the lock, and wakes this task afterwards. It may have done so just now.
                self.shared.reader.register(cx.waker());
                match self.shared.state.try_lock() {
                    Some(state) => state,
                    None => return Poll::Pending,
                }
            }
        };
        if state.inner.is_some() && self.shared.is_unloading.load(Ordering::Acquire) {
            return Poll::Ready(self.shared.end(&mut state, Err(PluginError::unloading())).map(Err));
        }
        let item = self.shared.poll(&mut state, cx, self.call.interruption());
        if item.is_pending() {
            // The watch may end the stream.
            self.shared.reader.register(cx.waker());
        }
        item
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // If the watch has the lock, it ends the stream.
        if let Some(mut state) = self.shared.state.try_lock() {
            self.watch.abort();
            let State { inner, at_end, .. } = std::mem::take(&mut *state);
            drop(state);
            drop(inner);
            drop(at_end);
            self.shared.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use serde_json::json;

    use super::*;
    use crate::{Call, ErrorCode};

    fn endless() -> PayloadStream {
        PayloadStream::new(stream::repeat_with(|| Ok(json!(1).into())))
    }

    fn held() -> (Arc<()>, impl Fn() -> bool) {
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        (held, move || weak.strong_count() > 0)
    }

    #[tokio::test]
    async fn held_values_are_dropped_with_the_last_item_the_first_error_or_the_stream() {
        let call = Call::new();
        let failed = || Err(PluginError::invalid_input("no"));
        for results in [vec![Ok(json!(1).into())], vec![failed(), Ok(json!(1).into())]] {
            let (held, is_held) = held();
            let mut stream = PayloadStream::new(stream::iter(results)).holding(call.handle(), held);
            assert!(is_held());
            while let Some(Ok(_)) = stream.next().await {}
            assert!(!is_held());
            assert!(stream.next().await.is_none(), "the first error is the last item");
        }
        let (held, is_held) = held();
        let stream = endless().holding(call.handle(), held);
        assert!(is_held());
        drop(stream);
        assert!(!is_held());
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_ends_with_its_call() {
        let call = Call::new();
        let (first, first_held) = held();
        let (second, second_held) = held();
        let mut stream = endless().holding(call.handle(), first).holding(call.handle(), second);
        assert_eq!(stream.next().await.unwrap().unwrap().json, json!(1));
        call.handle().cancel();
        while first_held() || second_held() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
        assert!(stream.next().await.is_none());
        // A value that is held after the end is dropped at once.
        let (late, late_held) = held();
        let stream = stream.holding(call.handle(), late);
        assert!(!late_held());
        drop(stream);
    }

    #[tokio::test]
    async fn a_stream_of_another_call_is_bound_to_this_one_too() {
        let (inner, outer) = (Call::new(), Call::new());
        let (held_by_inner, inner_held) = held();
        let (held_by_outer, outer_held) = held();
        let mut stream = endless().holding(inner.handle(), held_by_inner).holding(outer.handle(), held_by_outer);
        outer.handle().cancel();
        while inner_held() || outer_held() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stream.next().await.unwrap().unwrap_err().call(), Some(outer.id()));
    }

    #[tokio::test]
    async fn a_stream_whose_errors_are_changed_stays_bound_to_its_call() {
        let call = Call::new();
        let (first, first_held) = held();
        let stream = endless().holding(call.handle(), first);
        let mut stream = stream.map_errors(|error| error.and_help("one")).map_errors(|error| error.and_help("two"));
        assert!(stream.is_bound_to(call.id()), "it needs no second watch");
        let (second, second_held) = held();
        stream = stream.holding(call.handle(), second);
        assert_eq!(stream.next().await.unwrap().unwrap().json, json!(1));
        call.handle().cancel();
        while first_held() || second_held() {
            tokio::task::yield_now().await;
        }
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.help()), (ErrorCode::Cancelled, Some("one; two")));
    }
}
