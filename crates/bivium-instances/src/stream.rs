//! A stream that holds on to what it needs until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bivium_interface::{Payload, PayloadStream, Result};
use futures_core::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::plugin::unloading;

/// Hands a road's stream on. At its end, its first error, its plugin's end or its drop, what it held is let go;
/// `ended` is told how it ended, unless it was dropped.
pub(crate) struct HeldStream<H, F: FnMut(&Result<()>)> {
    inner: Option<PayloadStream>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    held: Option<(H, F)>,
}

impl<H, F: FnMut(&Result<()>)> HeldStream<H, F> {
    pub(crate) fn new(inner: PayloadStream, ending: CancellationToken, held: H, ended: F) -> Self {
        Self { inner: Some(inner), ending: Box::pin(ending.cancelled_owned()), held: Some((held, ended)) }
    }

    fn end(&mut self, outcome: &Result<()>) {
        if let Some((_, ended)) = &mut self.held {
            ended(outcome);
        }
        self.let_go();
    }

    /// The road's stream goes first: it may still use what is held.
    fn let_go(&mut self) {
        self.inner = None;
        self.held = None;
    }
}

impl<H: Unpin, F: FnMut(&Result<()>) + Unpin> Stream for HeldStream<H, F> {
    type Item = Result<Payload>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let item = match inner.as_mut().poll_next(cx) {
            Poll::Ready(item) => item,
            Poll::Pending => {
                std::task::ready!(self.ending.as_mut().poll(cx));
                Some(Err(unloading()))
            }
        };
        match &item {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.end(&Err(error.clone())),
            None => self.end(&Ok(())),
        }
        Poll::Ready(item)
    }
}

impl<H, F: FnMut(&Result<()>)> Drop for HeldStream<H, F> {
    fn drop(&mut self) {
        self.let_go();
    }
}
