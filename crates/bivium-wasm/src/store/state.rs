//! [`StoreState`]: what one store has whatever its guest may do: the table of handles, limits, the running call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bivium_instances::document::Pace;
use bivium_interface::{CallHandle, PluginError};
use tokio::time::Instant;
use wasmtime::component::ResourceTable;

use super::limiter::Limiter;
use super::limits::StoreLimits;
use super::log::GuestLog;
use super::quota::Written;
use super::reach::Reach;
use super::ticker::Ticker;
use super::witness::Witness;

/// What one store has, whatever its guest may do.
pub(crate) struct StoreState {
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) limits: StoreLimits,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) witness: Arc<Witness>,
    /// What the running call has written, into blobs and files.
    pub(crate) written: Arc<Written>,
    pub(crate) reach: Arc<Reach>,
    call: Option<RunningCall>,
    _counted: Arc<()>,
}

/// The call that the guest works for.
struct RunningCall {
    handle: CallHandle,
    deadline: Option<Instant>,
}

impl StoreState {
    /// `counted` is held for as long as the store lives.
    pub(crate) fn new(
        limits: StoreLimits,
        limiter: Limiter,
        witness: Arc<Witness>,
        ticker: &Arc<Ticker>,
        counted: Arc<()>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            table,
            limiter,
            limits,
            log: Arc::clone(witness.log()),
            witness,
            written: Arc::new(Written::new(limits.blob_bytes)),
            reach: Arc::new(Reach::new(ticker)),
            call: None,
            _counted: counted,
        }
    }

    /// The guest works for this call from now on, or for the host itself.
    pub(crate) fn begin(&mut self, call: Option<&CallHandle>) {
        self.log.set_call(call.map(CallHandle::id));
        self.witness.begin();
        self.reach.asked.store(false, Ordering::Relaxed);
        self.written.reset();
        self.call = call.map(|handle| RunningCall { handle: handle.clone(), deadline: None });
    }

    /// The guest is entered and must have returned by then.
    pub(crate) fn enter(&mut self, deadline: Option<Instant>) {
        self.limiter.reset();
        if let Some(call) = &mut self.call {
            call.deadline = deadline;
        }
    }

    /// No call is running any more. Its log is ended by [`GuestLog::end_call`].
    pub(crate) fn forget_call(&mut self) {
        self.call = None;
    }

    pub(crate) fn call(&self) -> Option<&CallHandle> {
        self.call.as_ref().map(|call| &call.handle)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.call.as_ref()?.deadline
    }

    /// For work of the host's on what crosses in the running call.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.call().cloned(), self.deadline())
    }

    /// Why a call fails though its guest did not: a use could not be recorded.
    pub(crate) fn unrecorded(&self) -> Option<PluginError> {
        self.witness.take_unrecorded()
    }
}
