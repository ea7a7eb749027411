//! [`StoreState`]: the parts of a store that do not depend on its guest's permissions: the table of handles, limits, the running call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bivium_instances::document::Pace;
use bivium_interface::{CallHandle, PluginError};
use tokio::time::Instant;
use wasmtime::component::ResourceTable;

use super::access::AccessRecorder;
use super::limiter::Limiter;
use super::limits::StoreLimits;
use super::log::GuestLog;
use super::signals::Signals;
use super::ticker::Ticker;
use super::write_quota::WriteQuota;

/// The parts of a store that do not depend on its guest's permissions.
pub(crate) struct StoreState {
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) limits: StoreLimits,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) access: Arc<AccessRecorder>,
    /// How much the running call has written, into blobs and files.
    pub(crate) written: Arc<WriteQuota>,
    pub(crate) signals: Arc<Signals>,
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
        access: Arc<AccessRecorder>,
        ticker: &Arc<Ticker>,
        counted: Arc<()>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            table,
            limiter,
            limits,
            log: Arc::clone(access.log()),
            access,
            written: Arc::new(WriteQuota::new(limits.blob_bytes)),
            signals: Arc::new(Signals::new(ticker)),
            call: None,
            _counted: counted,
        }
    }

    /// From now on the guest works for this call, or for the host itself.
    pub(crate) fn begin(&mut self, call: Option<&CallHandle>) {
        self.log.set_call(call.map(CallHandle::id));
        self.access.begin();
        self.signals.asked.store(false, Ordering::Relaxed);
        self.written.reset();
        self.call = call.map(|handle| RunningCall { handle: handle.clone(), deadline: None });
    }

    /// Called before each call into the guest, which must return by the deadline.
    pub(crate) fn enter(&mut self, deadline: Option<Instant>) {
        self.limiter.reset();
        if let Some(call) = &mut self.call {
            call.deadline = deadline;
        }
    }

    /// Called when no call runs any more. [`GuestLog::end_call`] ends its log.
    pub(crate) fn forget_call(&mut self) {
        self.call = None;
    }

    pub(crate) fn call(&self) -> Option<&CallHandle> {
        self.call.as_ref().map(|call| &call.handle)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.call.as_ref()?.deadline
    }

    /// The pace for the host's work on data of the running call.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.call().cloned(), self.deadline())
    }

    /// Why a call fails although its guest did not: a use of a permission could not be recorded.
    pub(crate) fn unrecorded(&self) -> Option<PluginError> {
        self.access.take_unrecorded()
    }
}
