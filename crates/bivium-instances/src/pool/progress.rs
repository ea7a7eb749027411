//! [`StartProgress`]: tells a call what the start of its instance waits for.

use bivium_interface::{CallHandle, Progress};
use tokio::sync::watch;

/// Reports as a call's progress what the start of its instance waits for. Dropping it takes the last report back.
pub(super) struct StartProgress<'a> {
    call: &'a CallHandle,
    waits: watch::Receiver<String>,
    has_told: bool,
}

impl<'a> StartProgress<'a> {
    pub(super) fn new(call: &'a CallHandle, mut waits: watch::Receiver<String>) -> Self {
        // Other calls may wait for the same start, which may wait already.
        waits.mark_changed();
        Self { call, waits, has_told: false }
    }

    /// Waits for the next reason and reports it; for ever if there is nobody to tell.
    pub(super) async fn tell(told: &mut Option<Self>) {
        let Some(this) = told else { return std::future::pending().await };
        if this.waits.changed().await.is_err() {
            *told = None;
            return std::future::pending().await;
        }
        let reason = this.waits.borrow_and_update().clone();
        if !reason.is_empty() {
            this.has_told = true;
            this.call.report(Progress::new(None, format!("waiting: {reason}")));
        } else if this.has_told {
            this.call.report(Progress::default());
        }
    }
}

impl Drop for StartProgress<'_> {
    fn drop(&mut self) {
        if self.has_told {
            self.call.report(Progress::default());
        }
    }
}
