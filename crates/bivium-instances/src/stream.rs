//! A stream that holds on to what it needs until it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bivium_interface::{CallId, Payload, PayloadStream, Result};
use futures_core::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::InstanceFactory;
use crate::lease::Lease;
use crate::plugin::unloading;
use crate::pool::Pool;

/// Hands a road's stream on. At its end, its first error, its plugin's end or its drop, its lease is let go.
pub(crate) struct HeldStream<F: InstanceFactory> {
    /// Goes before the lease: it may still use what that holds.
    inner: Option<PayloadStream>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    lease: Option<Lease<F, Arc<Pool<F>>>>,
    call: CallId,
}

impl<F: InstanceFactory> HeldStream<F> {
    pub(crate) fn new(
        inner: PayloadStream,
        ending: CancellationToken,
        lease: Lease<F, Arc<Pool<F>>>,
        call: CallId,
    ) -> Self {
        Self { inner: Some(inner), ending: Box::pin(ending.cancelled_owned()), lease: Some(lease), call }
    }

    /// The stream has ended with this. Gives the error with the names of the plugin and the call.
    fn end(&mut self, mut outcome: Result<()>) -> Option<Result<Payload>> {
        self.inner = None;
        if let Some(mut lease) = self.lease.take() {
            lease.note(&outcome);
            let name = lease.hold.pool.factory().name();
            outcome = outcome.map_err(|error| error.with_plugin(name).with_call(self.call));
        }
        outcome.err().map(Err)
    }
}

impl<F: InstanceFactory> Stream for HeldStream<F> {
    type Item = Result<Payload>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        // Changed in place: a result is large, and nearly always handed on as it is.
        let mut item = inner.as_mut().poll_next(cx);
        match &mut item {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => item = Poll::Ready(self.end(Err(error.clone()))),
            Poll::Ready(None) => item = Poll::Ready(self.end(Ok(()))),
            Poll::Pending => item = self.ending.as_mut().poll(cx).map(|()| self.end(Err(unloading()))),
        }
        item
    }
}
