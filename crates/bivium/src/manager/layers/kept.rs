//! [`KeptStream`]: what a streaming call holds is held until its stream ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bivium_interface::{CallHandle, Payload, PayloadStream, Result};
use futures_core::Stream;
use tokio::task::AbortHandle;

/// A stream that keeps what its call holds until it ends, or must: where nobody reads it, no other call waits for its place.
pub(in crate::manager) struct KeptStream<T> {
    inner: PayloadStream,
    held: Arc<Mutex<Option<T>>>,
    watch: Option<AbortHandle>,
}

impl<T: Send + 'static> KeptStream<T> {
    pub(in crate::manager) fn new(inner: PayloadStream, call: CallHandle, held: T) -> Self {
        let held = Arc::new(Mutex::new(Some(held)));
        let watched = Arc::clone(&held);
        let watch = tokio::spawn(async move {
            call.interrupted().await;
            let_go(&watched);
        });
        Self { inner, held, watch: Some(watch.abort_handle()) }
    }
}

impl<T> KeptStream<T> {
    fn end(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
        let_go(&self.held);
    }
}

fn let_go<T>(held: &Mutex<Option<T>>) {
    let held = held.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Without the lock.
    drop(held);
}

impl<T> Drop for KeptStream<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> Stream for KeptStream<T> {
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
