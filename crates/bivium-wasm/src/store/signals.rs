//! [`Signals`]: the signals to and from a running guest.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bivium_interface::CallHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ticker::Ticker;

/// The signals to and from a running guest.
pub(crate) struct Signals {
    pub(super) ticker: Arc<Ticker>,
    /// Whether the guest has asked in this call whether it is cancelled.
    pub(crate) asked: AtomicBool,
    /// Cancelled when the instance must end.
    pub(crate) closing: CancellationToken,
}

impl Signals {
    pub(crate) fn new(ticker: &Arc<Ticker>) -> Self {
        Self { ticker: Arc::clone(ticker), asked: AtomicBool::new(false), closing: CancellationToken::new() }
    }

    /// Until the returned value is dropped, a computing guest yields as soon as its call is cancelled, not only at the next tick.
    pub(super) fn yield_on_cancel(&self, call: &CallHandle) -> JoinSet<()> {
        let (call, ticker) = (call.clone(), Arc::downgrade(&self.ticker));
        let mut task = JoinSet::new();
        task.spawn(async move {
            call.cancelled().await;
            if let Some(ticker) = ticker.upgrade() {
                ticker.tick();
            }
        });
        task
    }
}
