//! Calls: held to their plugin's copy, listed, admitted by the scheduler, and run.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bivium_instances::{CallStream, Place};
use bivium_interface::{
    Call, CallHandle, CancellationToken, Payload, PayloadStream, PluginError, Result, TypedStream, typed,
};
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use super::PluginManager;
use super::loaded::{Hold, Listed};
use crate::scheduler::Admission;

/// What a call holds while it is on its way.
struct Underway {
    _capacity: Place,
    hold: Hold,
    _admission: Admission,
    _listed: Listed,
}

impl PluginManager {
    /// Runs a call and gives its result. The call's deadline covers the wait for the scheduler and for an
    /// instance too. Dropping the future cancels the call.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if the plugin is not loaded or disabled; `resource-exhausted` by the scheduler;
    /// `cancelled`; `timeout`; and whatever the plugin gives.
    pub async fn execute(&self, name: &str, call: Call) -> Result<Payload> {
        let underway = self.start(name, call.handle(), false).await?;
        underway.hold.copy.plugin.execute(call).await
    }

    /// Starts a call with many results. The stream keeps the call's place until it ends or is dropped; dropping
    /// it cancels the call.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); the stream's items carry those that come later.
    pub async fn execute_stream(&self, name: &str, call: Call) -> Result<PayloadStream> {
        let handle = call.handle().clone();
        let underway = self.start(name, &handle, true).await?;
        let mut inner = underway.hold.copy.plugin.execute_stream(call).await?;
        if underway.hold.copy.manifest.is_none() {
            // The stream of a type of the host's own, which may look at nothing; those of instances are held already.
            inner = Box::pin(CallStream::new(inner, &handle, &CancellationToken::new(), |outcome| outcome));
        }
        Ok(Box::pin(ManagedStream::new(inner, handle, underway)))
    }

    /// Calls `execute` with the arguments that `input` holds ([`Call::with`]), and reads its result into the caller's own
    /// type ([`Payload::parse`]). For another method, a deadline or a handle make the [`Call`] yourself.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `invalid-input` and `protocol` where a type does not fit.
    pub fn call_typed<Out: DeserializeOwned>(
        &self,
        name: &str,
        input: impl Serialize,
    ) -> impl Future<Output = Result<Out>> + Send {
        let call = Call::with(input).map_err(|error| error.with_plugin(name));
        async move { self.execute(name, call?).await?.parse().map_err(|error| error.with_plugin(name)) }
    }

    /// The same for the results of [`execute_stream`](Self::execute_stream).
    ///
    /// # Errors
    /// As [`call_typed`](Self::call_typed); the stream's items carry those that come later.
    pub fn stream_typed<Out: DeserializeOwned + 'static>(
        &self,
        name: &str,
        input: impl Serialize,
    ) -> impl Future<Output = Result<TypedStream<Out>>> + Send {
        let call = Call::with(input).map_err(|error| error.with_plugin(name));
        async move { Ok(typed(self.execute_stream(name, call?).await?, name)) }
    }

    async fn start(&self, name: &str, call: &CallHandle, stream: bool) -> Result<Underway> {
        let loaded = self.loaded(name)?;
        if !loaded.enabled.load(Ordering::Relaxed) {
            return Err(PluginError::unavailable("the plugin is disabled")
                .with_plugin(name)
                .with_help(format!("`bivium enable {name}` lets calls through again")));
        }
        let listed = loaded.list(call);
        let name_error = |error: PluginError| error.with_plugin(name).with_call(call.id());
        // Waiting is seldom and large: in a box, so that what each call moves about stays small.
        let hold = match loaded.try_hold() {
            Some(hold) => hold,
            None => Box::pin(call.guard(loaded.hold())).await.map_err(name_error)?,
        };
        // One that waits for its own plugin must not take a slot from the calls of others.
        let capacity = hold.copy.queue.enter(call).await.map_err(name_error)?;
        // Seldom and large, as above.
        let admission = match self.admit_at_once(&loaded.name, &hold.copy, stream) {
            Some(admission) => admission,
            None => Box::pin(self.admit(&loaded.name, &hold.copy, call, stream)).await.map_err(name_error)?,
        };
        Ok(Underway { _capacity: capacity, hold, _admission: admission, _listed: listed })
    }
}

/// A stream that keeps its call's place until it ends, or must: where nobody reads it, no other call waits for its place.
struct ManagedStream {
    inner: PayloadStream,
    underway: Arc<Mutex<Option<Underway>>>,
    watch: Option<AbortHandle>,
}

impl ManagedStream {
    fn new(inner: PayloadStream, call: CallHandle, underway: Underway) -> Self {
        let underway = Arc::new(Mutex::new(Some(underway)));
        let held = Arc::clone(&underway);
        let watch = tokio::spawn(async move {
            call.interrupted().await;
            let_go(&held);
        });
        Self { inner, underway, watch: Some(watch.abort_handle()) }
    }

    fn end(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
        let_go(&self.underway);
    }
}

fn let_go(held: &Mutex<Option<Underway>>) {
    let held = held.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Without the lock.
    drop(held);
}

impl Drop for ManagedStream {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stream for ManagedStream {
    type Item = Result<Payload>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.watch.is_none() {
            return Poll::Ready(None);
        }
        let item = self.inner.as_mut().poll_next(cx);
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            self.end();
        }
        item
    }
}
