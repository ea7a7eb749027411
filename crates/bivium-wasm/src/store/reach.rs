//! [`Reach`]: how a guest is reached from outside while it runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bivium_interface::CallHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ticker::Ticker;

/// How a guest is reached from outside.
pub(crate) struct Reach {
    pub(super) ticker: Arc<Ticker>,
    /// Whether the guest has asked, in this call, whether it is cancelled.
    pub(crate) asked: AtomicBool,
    /// Cancelled when the instance must go.
    pub(crate) closing: CancellationToken,
}

impl Reach {
    pub(crate) fn new(ticker: &Arc<Ticker>) -> Self {
        Self { ticker: Arc::clone(ticker), asked: AtomicBool::new(false), closing: CancellationToken::new() }
    }

    /// While this lives, a guest that computes yields as soon as its call is cancelled, and not only at the next tick.
    pub(super) fn hurry(&self, call: &CallHandle) -> JoinSet<()> {
        let (call, ticker) = (call.clone(), Arc::downgrade(&self.ticker));
        let mut hurry = JoinSet::new();
        hurry.spawn(async move {
            call.cancelled().await;
            if let Some(ticker) = ticker.upgrade() {
                ticker.tick();
            }
        });
        hurry
    }
}
