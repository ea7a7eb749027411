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

/// How long a stream may take to end once its call is interrupted. A component takes no time, a worker the 2 s after which it
/// is ended, and the time that this takes. What goes on longer is dropped.
const END_TIME: Duration = Duration::from_secs(8);

type Results = Pin<Box<dyn Stream<Item = Result<Payload>> + Send>>;

/// The results of a streaming call, in order. Made when asked for: a slow reader slows the plugin down. The first
/// error ends the stream. Dropping it cancels the call.
pub struct PayloadStream(Kind);

enum Kind {
    Plain(Results),
    Bound(Bound),
}

/// The results of a streaming call, each read into the caller's own type. As [`PayloadStream`] otherwise.
pub type TypedStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// Told how the stream ended; gives the error as its reader is to see it.
type AtEnd = Box<dyn FnOnce(Result<()>) -> Result<()> + Send>;

/// A stream that a call's deadline and cancellation, or its plugin's end, end at once: also where its reader is slower than
/// the plugin, so that there is always something to read, and where its reader has stopped.
struct Bound {
    call: CallHandle,
    shared: Arc<Shared>,
    watch: AbortHandle,
}

struct Shared {
    state: Mutex<State>,
    /// Set by the watch once the plugin ends: a reader that always finds something to read leaves it no turn at `state`.
    is_unloading: AtomicBool,
    /// Let go after the stream has ended; none from then on.
    held: SyncMutex<Option<Vec<Box<dyn Any + Send>>>>,
    /// Woken when the watch has ended the stream.
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// Dropped before what is held, which it may still use.
    inner: Option<PayloadStream>,
    at_end: Option<AtEnd>,
    /// The error that the watch ended it with, until it is read.
    error: Option<PluginError>,
}

impl PayloadStream {
    /// The results that `results` gives. Where it is a plugin of the host's own type that makes it, the manager ends it with its call.
    pub fn new(results: impl Stream<Item = Result<Payload>> + Send + 'static) -> Self {
        Self(Kind::Plain(Box::pin(results)))
    }

    /// Ends this stream when its call is interrupted, or when `ending` is cancelled because the plugin is unloaded, whether
    /// anybody reads it or not. `at_end` is told how the stream ended, and gives the error as the reader is to see it; it is dropped
    /// instead where the stream is dropped. To be called within a tokio runtime.
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
        Self(Kind::Bound(Bound { call: call.clone(), shared, watch }))
    }

    /// Ends this stream with its call, as [`bound`](Self::bound) does, and keeps `held` until then.
    #[must_use]
    pub fn holding(self, call: &CallHandle, held: impl Send + 'static) -> Self {
        let bound = match self.is_bound_to(call.id()) {
            true => self,
            false => self.bound(call, &CancellationToken::new(), |outcome| outcome),
        };
        if let Kind::Bound(bound) = &bound.0 {
            bound.shared.hold(Box::new(held));
        }
        bound
    }

    fn is_bound_to(&self, id: CallId) -> bool {
        matches!(&self.0, Kind::Bound(bound) if bound.call.id() == id)
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
        match &mut self.0 {
            Kind::Plain(results) => results.as_mut().poll_next(cx),
            Kind::Bound(bound) => bound.poll_next(cx),
        }
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
        // Without the lock.
        drop(left);
    }

    /// Ends the stream, of which this is the state, and lets go of what was held.
    fn end(&self, state: &mut State, outcome: Result<()>) -> Option<PluginError> {
        state.inner = None;
        let error = state.at_end.take().and_then(|at_end| at_end(outcome).err());
        self.let_go();
        error
    }

    fn let_go(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock.
        drop(held);
    }

    /// The next item; none once a call that is interrupted gives another result.
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

/// Ends the stream when its call must end, in its reader's place.
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
            // What runs a call looks at its interruption by itself, and says how it ended.
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
                // The watch is at it, and wakes us after. It may have done so just now.
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
            // The watch may take over.
            self.shared.reader.register(cx.waker());
        }
        item
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // If the watch has it, it ends it.
        if let Some(mut state) = self.shared.state.try_lock() {
            self.watch.abort();
            let State { inner, at_end, .. } = std::mem::take(&mut *state);
            drop(state);
            drop(inner);
            drop(at_end);
            self.shared.let_go();
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
    async fn what_is_held_goes_with_the_last_item_the_first_error_or_the_stream() {
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
        // What comes too late is not kept.
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
}
