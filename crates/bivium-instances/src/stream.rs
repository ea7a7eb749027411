//! A stream that is held to its call: it ends when the call must, whether anybody reads it or not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bivium_interface::{CallHandle, Payload, PayloadStream, PluginError, Result};
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::lock::Mutex;
use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// How long a stream may take to end once its call is interrupted. A component takes no time, a worker the 2 s after which it
/// is ended, and the time that this takes. What goes on longer is dropped.
const END_TIME: Duration = Duration::from_secs(8);

/// Told how the stream ended; gives the error as its reader is to see it.
type AtEnd = Box<dyn FnOnce(Result<()>) -> Result<()> + Send>;

/// A stream that a call's deadline and cancellation, or its plugin's end, end at once: also where its reader is slower than
/// the plugin, so that there is always something to read, and where its reader has stopped.
///
/// What it was given to hold is let go at its end, at its first error, or when it is dropped.
pub struct CallStream {
    call: CallHandle,
    ending: CancellationToken,
    shared: Arc<Shared>,
    watch: AbortHandle,
}

struct Shared {
    state: Mutex<State>,
    /// Woken when the watch has ended the stream.
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// Goes before what is held: it may still use that.
    inner: Option<PayloadStream>,
    at_end: Option<AtEnd>,
    /// The error that the watch ended it with, until it is read.
    error: Option<PluginError>,
}

impl CallStream {
    /// `ending` is cancelled when the plugin must go. `at_end` holds what the stream needs.
    #[must_use]
    pub fn new(
        inner: PayloadStream,
        call: &CallHandle,
        ending: &CancellationToken,
        at_end: impl FnOnce(Result<()>) -> Result<()> + Send + 'static,
    ) -> Self {
        let state = State { inner: Some(inner), at_end: Some(Box::new(at_end)), error: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), reader: AtomicWaker::new() });
        // Of its own, so that streams of one plugin do not wait for each other's look.
        let ending = ending.child_token();
        let watch = tokio::spawn(watch(Arc::clone(&shared), call.clone(), ending.clone())).abort_handle();
        Self { call: call.clone(), ending, shared, watch }
    }
}

impl State {
    fn end(&mut self, outcome: Result<()>) -> Option<PluginError> {
        self.inner = None;
        self.at_end.take().and_then(|at_end| at_end(outcome).err())
    }

    /// The next item; none once a call that is interrupted gives another result.
    fn poll(&mut self, cx: &mut Context<'_>, interrupted: Option<PluginError>) -> Poll<Option<Result<Payload>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(self.error.take().map(Err));
        };
        let error = match (ready!(inner.poll_next_unpin(cx)), interrupted) {
            (Some(Ok(payload)), None) => return Poll::Ready(Some(Ok(payload))),
            (Some(Err(error)), _) | (_, Some(error)) => self.end(Err(error)),
            (None, None) => self.end(Ok(())),
        };
        Poll::Ready(error.map(Err))
    }
}

/// Ends the stream when its call must end, in its reader's place.
async fn watch(shared: Arc<Shared>, call: CallHandle, ending: CancellationToken) {
    let error = tokio::select! {
        biased;
        () = ending.cancelled() => None,
        error = call.interrupted() => Some(error),
    };
    let mut state = shared.state.lock().await;
    let ended = match error {
        None => state.end(Err(unloading())),
        Some(error) => {
            // What runs a call looks at its interruption by itself, and says how it ended.
            let last = std::future::poll_fn(|cx| state.poll(cx, Some(error.clone())));
            match tokio::time::timeout(END_TIME, last).await {
                Ok(last) => last.and_then(Result::err),
                Err(_) => state.end(Err(error)),
            }
        }
    };
    state.error = ended;
    drop(state);
    shared.reader.wake();
}

impl Stream for CallStream {
    type Item = Result<Payload>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
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
        if state.inner.is_some() && self.ending.is_cancelled() {
            return Poll::Ready(state.end(Err(unloading())).map(Err));
        }
        let item = state.poll(cx, self.call.interruption());
        if item.is_pending() {
            // The watch may take over.
            self.shared.reader.register(cx.waker());
        }
        item
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        // If the watch has it, it ends it.
        if let Some(mut state) = self.shared.state.try_lock() {
            self.watch.abort();
            let State { inner, at_end, .. } = std::mem::take(&mut *state);
            drop(state);
            drop(inner);
            drop(at_end);
        }
    }
}

/// The error of a call whose plugin ends under it.
pub(crate) fn unloading() -> PluginError {
    PluginError::cancelled("the call was cancelled: its plugin is being unloaded")
}
