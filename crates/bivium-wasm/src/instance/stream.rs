//! The host's side of a guest's stream: it produces a result when its reader asks for one, and is dropped when its reader drops it.

use std::sync::Arc;

use bivium_interface::{Payload, PayloadStream, Result};
use futures_util::stream;

use super::entry::ComponentInstance;
use crate::guest::GuestStream;
use crate::store::Bounds;

/// A stream that the guest holds open for its call.
pub(super) struct RunningStream {
    instance: Arc<ComponentInstance>,
    /// `None` once the guest has dropped it.
    stream: Option<Box<dyn GuestStream>>,
    bounds: Bounds,
}

impl RunningStream {
    pub(super) fn new(instance: Arc<ComponentInstance>, stream: Box<dyn GuestStream>, bounds: Bounds) -> Self {
        Self { instance, stream: Some(stream), bounds }
    }

    pub(super) fn into_payloads(self) -> PayloadStream {
        // Boxed, since it is moved for each result.
        PayloadStream::new(stream::unfold(Box::new(self), |mut running| async move {
            let item = running.next().await?;
            Some((item, running))
        }))
    }

    async fn next(&mut self) -> Option<Result<Payload>> {
        let stream = self.stream.as_mut()?;
        let item = self.instance.next(stream.as_mut(), &mut self.bounds).await;
        if !matches!(item, Ok(Some(_))) {
            // Runs once and is large: boxed, so that the future of each result stays small.
            Box::pin(self.finish()).await;
        }
        item.transpose()
    }

    async fn finish(&mut self) {
        let slot = self.instance.slot().await;
        if let Some(stream) = self.stream.take() {
            self.instance.end_stream(slot, stream).await;
        }
    }
}

impl Drop for RunningStream {
    /// Between two results the guest is asked to drop its stream, and the instance stays in use. In the middle of a result the instance is
    /// dead already.
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        // The slot is taken here: the next call must wait until the guest is done.
        match (tokio::runtime::Handle::try_current(), self.instance.try_slot()) {
            (Ok(runtime), Some(slot)) if self.instance.lives() => {
                let instance = Arc::clone(&self.instance);
                runtime.spawn(async move { instance.end_stream(slot, stream).await });
            }
            _ => self.instance.abandon(),
        }
    }
}
