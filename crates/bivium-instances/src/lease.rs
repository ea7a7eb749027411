//! [`Lease`]: the right to run one call on an instance.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::sync::Arc;

use bivium_interface::{Admission, PluginError, Result};

use crate::pool::Pool;
use crate::slots::Work;
use crate::{Instance, InstanceFactory};

/// The right to run one call on an instance. Its holder is a call that borrows the pool, or a stream that owns it.
pub(crate) struct Lease<F: InstanceFactory, P: Borrow<Arc<Pool<F>>>> {
    pub(crate) instance: Arc<F::Instance>,
    pub(crate) hold: Hold<F, P>,
}

impl<F: InstanceFactory, P: Borrow<Arc<Pool<F>>>> Lease<F, P> {
    /// The call has ended with this result. One that is dropped without was cancelled.
    pub(crate) fn note<T>(&mut self, result: &Result<T>) {
        if let Some(work) = &mut self.hold.work {
            work.end(result.as_ref().map(|_| ()).map_err(PluginError::code));
        }
    }

    /// Ends the lease of a call that has its result. An instance for one call ends here and now: memory that is given
    /// back by the thread that took it costs the other processors nothing.
    pub(crate) async fn end<T>(mut self, result: &Result<T>) {
        self.note(result);
        let pool = self.hold.pool.borrow();
        if pool.limits.single_use && self.hold.seat.is_some_and(|id| pool.line().kept.take_out(id)) {
            // In a box, so that what other calls move about stays small.
            Box::pin(self.instance.close()).await;
        }
    }
}

/// A place in the pool's queue and a seat in a slot, while it lives.
pub(crate) struct Hold<F: InstanceFactory, P: Borrow<Arc<Pool<F>>>> {
    pub(crate) pool: P,
    pub(crate) seat: Option<u64>,
    /// None for questions, which do not count.
    pub(crate) work: Option<Work>,
    /// Given back after the place.
    pub(crate) admission: Admission,
    factory: PhantomData<fn() -> F>,
}

impl<F: InstanceFactory, P: Borrow<Arc<Pool<F>>>> Hold<F, P> {
    /// Of a place that was taken, without a seat so far.
    pub(crate) fn new(pool: P) -> Self {
        Self { pool, seat: None, work: None, admission: Admission::default(), factory: PhantomData }
    }
}

impl<F: InstanceFactory, P: Borrow<Arc<Pool<F>>>> Drop for Hold<F, P> {
    fn drop(&mut self) {
        self.pool.borrow().leave(self.seat, self.work.as_ref(), 1);
    }
}
