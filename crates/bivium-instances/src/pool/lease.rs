//! [`Lease`]: the right to run one call on an instance.

use std::ops::Deref;
use std::sync::Arc;

use bivium_interface::{Admission, PluginError, Result};

use super::Pool;
use crate::instance::{Instance, InstanceFactory};
use crate::slots::CallRecord;

/// The pool of a lease. A call borrows it, which writes to no counter that all calls share; a stream owns it, since it outlives the
/// call that started it.
pub(crate) enum PoolRef<'p, F: InstanceFactory> {
    Borrowed(&'p Arc<Pool<F>>),
    Owned(Arc<Pool<F>>),
}

impl<F: InstanceFactory> Deref for PoolRef<'_, F> {
    type Target = Arc<Pool<F>>;

    fn deref(&self) -> &Arc<Pool<F>> {
        match self {
            Self::Borrowed(pool) => pool,
            Self::Owned(pool) => pool,
        }
    }
}

/// The right to run one call on an instance.
pub(crate) struct Lease<'p, F: InstanceFactory> {
    pub(crate) instance: Arc<F::Instance>,
    pub(crate) hold: Hold<'p, F>,
}

impl<F: InstanceFactory> Lease<'_, F> {
    /// Records that the call has ended with this result. A lease that is dropped without it counts as a cancelled call.
    pub(crate) fn note<T>(&mut self, result: &Result<T>) {
        if let Some(record) = &mut self.hold.record {
            record.end(result.as_ref().map(|_| ()).map_err(PluginError::code));
        }
    }

    /// Ends the lease of a call that has its result. A single-use instance is closed here, on the thread that allocated its memory:
    /// this is cheaper than on another one.
    pub(crate) async fn end<T>(mut self, result: &Result<T>) {
        self.note(result);
        let pool = &self.hold.pool;
        if pool.limits.single_use && self.hold.slot.is_some_and(|id| pool.lock().slots.remove_live(id)) {
            // Boxed, so that the future of all other calls stays small.
            Box::pin(self.instance.close()).await;
        }
    }
}

/// Holds a place of the pool's queue and a use of an instance, until it is dropped.
pub(crate) struct Hold<'p, F: InstanceFactory> {
    pub(crate) pool: PoolRef<'p, F>,
    /// The instance's slot.
    pub(crate) slot: Option<u64>,
    /// None for questions, which are not counted as calls.
    pub(crate) record: Option<CallRecord>,
    /// Released after the place.
    pub(crate) admission: Admission,
}

impl<'p, F: InstanceFactory> Hold<'p, F> {
    /// For a place that was taken; without an instance so far.
    pub(crate) fn new(pool: PoolRef<'p, F>) -> Self {
        Self { pool, slot: None, record: None, admission: Admission::default() }
    }
}

impl<F: InstanceFactory> Drop for Hold<'_, F> {
    fn drop(&mut self) {
        self.pool.leave(self.slot, self.record.as_ref(), 1);
    }
}
