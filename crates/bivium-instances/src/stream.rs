//! A stream that holds on to what it needs until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bivium_interface::{Payload, PayloadStream, PluginError, Result};
use futures_core::Stream;

/// Hands a road's stream on; at its end, its first error or its drop, `finish` runs once with how it ended (`None`
/// for a stream that was dropped early) and what the stream held is let go.
pub(crate) struct HeldStream<H, F: FnOnce(Option<&Result<(), PluginError>>)> {
    inner: Option<PayloadStream>,
    held: Option<(H, F)>,
}

impl<H, F: FnOnce(Option<&Result<(), PluginError>>)> HeldStream<H, F> {
    pub(crate) fn new(inner: PayloadStream, held: H, finish: F) -> Self {
        Self { inner: Some(inner), held: Some((held, finish)) }
    }

    fn end(&mut self, outcome: Option<&Result<(), PluginError>>) {
        // The road's stream goes first: it may still use what is held.
        self.inner = None;
        if let Some((held, finish)) = self.held.take() {
            finish(outcome);
            drop(held);
        }
    }
}

impl<H: Unpin, F: FnOnce(Option<&Result<(), PluginError>>) + Unpin> Stream for HeldStream<H, F> {
    type Item = Result<Payload>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let item = std::task::ready!(inner.as_mut().poll_next(cx));
        match &item {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.end(Some(&Err(error.clone()))),
            None => self.end(Some(&Ok(()))),
        }
        Poll::Ready(item)
    }
}

impl<H, F: FnOnce(Option<&Result<(), PluginError>>)> Drop for HeldStream<H, F> {
    fn drop(&mut self) {
        self.end(None);
    }
}
