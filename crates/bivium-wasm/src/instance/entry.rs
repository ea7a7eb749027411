//! [`ComponentInstance`]: one store and the guest in it, and how the host calls the guest.
//!
//! The store is in a slot behind a lock, which is held only while the host is in the guest. Between the results of a stream it is free,
//! so that an instance can be closed at any time. After a guest has trapped or was abandoned in the middle, the slot is empty and the
//! instance is dead; it is never called again.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bivium_instances::{Placement, Reservation};
use bivium_interface::{Call, CallHandle, Payload, PluginError, Result};
use futures_util::lock::{Mutex, MutexGuard, OwnedMutexGuard};
use serde_json::Value;
use wasmtime::Store;

use crate::store::{Bounds, MemoryGauge, Signals, StoreLimits, TICKS_TO_YIELD};

use crate::capability::blobs::Blobs;
use crate::guest::{Guest, GuestStream};
use crate::state::HostState;
use crate::trap;

/// One live copy of a component.
pub struct ComponentInstance {
    pub(super) id: u64,
    pub(super) limits: StoreLimits,
    pub(super) memory: MemoryGauge,
    pub(super) calls: AtomicU64,
    pub(super) made: Instant,
    alive: AtomicBool,
    pub(super) signals: Arc<Signals>,
    pub(super) schema: Arc<OnceLock<Value>>,
    pub(super) slot: Arc<Mutex<Option<LiveGuest>>>,
}

pub(super) struct LiveGuest {
    pub(super) store: Store<HostState>,
    pub(super) guest: Box<dyn Guest>,
    /// Dropped after the store, for which it was made.
    _room: (Reservation, Placement),
}

/// How a call into the guest ended: abandoned, with a trap, or with the plugin's answer.
pub(super) type GuestResult<T> = Result<wasmtime::Result<Result<T>>>;

impl LiveGuest {
    /// From now on the guest works for this call, or for the host itself.
    pub(super) fn begin(&mut self, call: Option<&CallHandle>) {
        let state = self.store.data_mut();
        state.begin(call);
        if let Some(fuel) = state.store.limits.fuel
            && let Err(error) = self.store.set_fuel(fuel)
        {
            tracing::error!("fuel cannot be set, since the engine does not count it: {error}");
        }
    }

    /// Must be called before each call into the guest. It resets the epoch deadline, so that a short call rarely meets a tick, which would
    /// cost a trip through the scheduler.
    pub(super) fn enter(&mut self, bounds: &Bounds) {
        self.store.set_epoch_deadline(TICKS_TO_YIELD);
        self.store.data_mut().store.enter(bounds.deadline());
    }
}

/// Marks the instance as dead unless the call into the guest came to its end.
struct EntryGuard<'a>(Option<&'a AtomicBool>);

impl Drop for EntryGuard<'_> {
    fn drop(&mut self) {
        if let Some(alive) = self.0 {
            alive.store(false, Ordering::Release);
        }
    }
}

impl ComponentInstance {
    /// How long a guest may take to drop a stream.
    const DROP_STREAM: Duration = Duration::from_secs(1);

    pub(crate) fn new(
        id: u64,
        store: Store<HostState>,
        guest: Box<dyn Guest>,
        room: (Reservation, Placement),
        limits: StoreLimits,
        memory: MemoryGauge,
        schema: Arc<OnceLock<Value>>,
    ) -> Self {
        Self {
            id,
            limits,
            memory,
            calls: AtomicU64::new(0),
            made: Instant::now(),
            alive: AtomicBool::new(true),
            signals: Arc::clone(&store.data().store.signals),
            schema,
            slot: Arc::new(Mutex::new(Some(LiveGuest { store, guest, _room: room }))),
        }
    }

    pub(super) async fn drive<T>(
        &self,
        bounds: &mut Bounds,
        work: impl Future<Output = wasmtime::Result<Result<T>>>,
    ) -> GuestResult<T> {
        let mut entry = EntryGuard(Some(&self.alive));
        let outcome = bounds.drive(&self.signals, work).await;
        if matches!(outcome, Ok(Ok(_))) {
            entry.0 = None;
        }
        outcome
    }

    /// Turns an outcome into one result, and frees a store that cannot be used any more.
    pub(super) fn settle<T>(
        &self,
        slot: &mut Option<LiveGuest>,
        bounds: &Bounds,
        outcome: GuestResult<T>,
    ) -> Result<T> {
        if let Some(live) = slot.as_ref().filter(|live| live.store.data().store.call().is_none()) {
            // Outside a call nothing else flushes it.
            live.store.data().store.log.flush();
        }
        let explained = |error| match slot.as_ref() {
            Some(live) => bounds.explain(live.store.data().explain(error)),
            None => error,
        };
        let unrecorded = slot.as_ref().and_then(|live| live.store.data().store.unrecorded());
        let error = match outcome {
            Ok(Ok(answer)) => return unrecorded.map_or_else(|| answer.map_err(explained), Err),
            Ok(Err(trap)) => match slot.as_ref() {
                Some(live) => explained(trap::explain(&trap, live.store.data())),
                None => ended(),
            },
            Err(interruption) => interruption,
        };
        self.free(slot);
        Err(error)
    }

    pub(super) fn free(&self, slot: &mut Option<LiveGuest>) {
        self.alive.store(false, Ordering::Release);
        if let Some(live) = slot.take() {
            live.store.data().store.log.end_call();
        }
        self.memory.store(0, Ordering::Relaxed);
    }

    pub(super) fn end_call(&self, slot: &mut Option<LiveGuest>) {
        if let Some(live) = slot {
            live.store.data_mut().end_call();
        }
        // Only the holder of the slot counts, so this needs no atomic addition.
        self.calls.store(self.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Begins work in the guest that belongs to no call.
    pub(super) fn control<'a>(&self, slot: &'a mut Option<LiveGuest>) -> Result<(&'a mut LiveGuest, Bounds)> {
        let live = slot.as_mut().ok_or_else(ended)?;
        let bounds = Bounds::of_control(&self.limits);
        live.begin(None);
        live.enter(&bounds);
        Ok((live, bounds))
    }

    /// Begins a call.
    pub(super) fn call<'a>(&self, slot: &'a mut Option<LiveGuest>, call: &Call) -> Result<(&'a mut LiveGuest, Bounds)> {
        let live = slot.as_mut().ok_or_else(ended)?;
        let bounds = Bounds::of_call(call.handle(), &self.limits);
        bounds.check()?;
        Blobs::admit(&call.blobs, &self.limits)?;
        live.begin(Some(call.handle()));
        live.store.data_mut().files.show(&call.blobs);
        live.enter(&bounds);
        Ok((live, bounds))
    }

    /// The next result of a stream.
    pub(super) async fn next(&self, stream: &mut dyn GuestStream, bounds: &mut Bounds) -> Result<Option<Payload>> {
        bounds.check()?;
        let mut slot = self.enter().await;
        let live = slot.as_mut().ok_or_else(ended)?;
        live.enter(bounds);
        let mut result = None;
        let outcome = self.drive(bounds, stream.next(&mut live.store, &mut result)).await;
        self.settle(&mut slot, bounds, outcome)?;
        bounds.in_time()?;
        Ok(result)
    }

    /// The slot, as soon as nobody else is in the guest. It is nearly always free, and then this avoids the lock's future, which would cost
    /// some 2 % of a stream's result.
    pub(super) async fn enter(&self) -> MutexGuard<'_, Option<LiveGuest>> {
        match self.slot.try_lock() {
            Some(slot) => slot,
            None => self.slot.lock().await,
        }
    }

    /// The slot, unless somebody else is in the guest.
    pub(super) fn try_slot(&self) -> Option<SlotGuard> {
        self.slot.try_lock_owned().map(SlotGuard)
    }

    pub(super) async fn slot(&self) -> SlotGuard {
        SlotGuard(Arc::clone(&self.slot).lock_owned().await)
    }

    /// Makes the guest drop a stream, and ends its call.
    pub(super) async fn end_stream(&self, mut slot: SlotGuard, stream: Box<dyn GuestStream>) {
        if let Some(live) = slot.0.as_mut().filter(|_| self.lives()) {
            let mut bounds = Bounds::of_control(&self.limits).at_most(Self::DROP_STREAM);
            live.enter(&bounds);
            let work = async { stream.end(&mut live.store).await.map(Ok) };
            let outcome = self.drive(&mut bounds, work).await;
            // Nobody waits for the answer; if it failed, the instance is dead.
            if let Err(error) = self.settle(&mut slot.0, &bounds, outcome) {
                tracing::debug!(instance = self.id, "a guest could not drop its stream: {error}");
            }
        }
        self.end_call(&mut slot.0);
    }

    pub(super) fn lives(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Marks the instance as dead, because its guest cannot be called any more.
    pub(super) fn abandon(&self) {
        self.alive.store(false, Ordering::Release);
    }
}

/// The right to call the guest.
pub(super) struct SlotGuard(OwnedMutexGuard<Option<LiveGuest>>);

pub(super) fn ended() -> PluginError {
    PluginError::unavailable("the instance has ended").with_help("call again")
}
