//! [`Capacity`]: what the instances of all plugins of a host share, for example the places in an engine's pools.
//!
//! An instance reserves its part before it is made, and releases it when it is gone. If too little is free, the instance waits in
//! order, under the deadline of its call. Meanwhile idle instances of any plugin are stopped, the longest idle first, and a plugin
//! that keeps its instances busy gives one up after [`TURN`].

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long an instance may serve calls of its plugin while instances of others wait for capacity. Long compared to the time that
/// making one takes.
pub(crate) const TURN: Duration = Duration::from_millis(50);

/// Capacity for instances, shared by plugins.
pub struct Capacity {
    resources: Vec<Resource>,
    /// How many wait for a reservation.
    waiting: AtomicUsize,
    /// How many instances are ending for those that wait. An upper bound: see [`Reservation`].
    leaving: AtomicUsize,
    /// Wakes one that waits when capacity may have become free, or can be freed.
    changed: Notify,
    pools: Mutex<Vec<Weak<dyn IdleInstances>>>,
}

/// Something of which there is a limited number.
struct Resource {
    name: &'static str,
    total: u32,
    free: Arc<Semaphore>,
}

/// The idle instances of one plugin.
pub(crate) trait IdleInstances: Send + Sync {
    /// Since when the longest idle instance has been idle.
    fn idle_since(&self) -> Option<Instant>;

    /// Begins to stop that instance. False if none is idle any more.
    fn stop_idle(&self) -> bool;
}

/// An instance's part of the capacity. It must be dropped after the instance.
pub struct Reservation {
    capacity: Arc<Capacity>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Capacity {
    /// Capacity of these resources: the name in the plural, and the number.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = (&'static str, u32)>) -> Arc<Self> {
        let resource = |(name, total)| Resource { name, total, free: Arc::new(Semaphore::new(total as usize)) };
        Arc::new(Self {
            resources: resources.into_iter().map(resource).collect(),
            waiting: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            changed: Notify::new(),
            pools: Mutex::default(),
        })
    }

    /// The first resource of which an instance needs more than there is in all: its name and its number.
    #[must_use]
    pub fn exceeded_by(&self, needs: &[u32]) -> Option<(&'static str, u32)> {
        let exceeded_by = |(resource, need): &(&Resource, &u32)| **need > resource.total;
        self.resources.iter().zip(needs).find(exceeded_by).map(|(resource, _)| (resource.name, resource.total))
    }

    /// Reserves this many of each resource; waits in order if fewer are free.
    pub async fn reserve(self: &Arc<Self>, needs: &[u32]) -> Reservation {
        let mut reservation = Reservation { capacity: Arc::clone(self), permits: Vec::with_capacity(needs.len()) };
        let wanted = || self.resources.iter().map(|resource| &resource.free).zip(needs.iter().copied());
        // All take the resources in the same order, so that no two wait for each other.
        let mut wanted_now = wanted();
        let at_once = wanted_now.all(|(free, need)| match Arc::clone(free).try_acquire_many_owned(need) {
            Ok(permit) => {
                reservation.permits.push(permit);
                true
            }
            Err(_) => false,
        });
        if at_once {
            return reservation;
        }
        {
            let missing = reservation.permits.len();
            let mut wait = pin!(async {
                for (free, need) in wanted().skip(missing) {
                    // The semaphore is never closed.
                    reservation.permits.extend(Arc::clone(free).acquire_many_owned(need).await);
                }
            });
            let _waiter = Waiter::new(self);
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                self.stop_idle();
                tokio::select! {
                    biased;
                    () = &mut wait => break,
                    () = changed => {}
                }
            }
        }
        reservation
    }

    /// What the waiting reservations wait for, if there are any.
    #[must_use]
    pub fn shortage(&self) -> Option<String> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let short =
            self.resources.iter().find(|resource| resource.free.available_permits() == 0).or(self.resources.first())?;
        Some(format!("space in the engine: all of its {} {} are in use", short.total, short.name))
    }

    /// Whether an instance should end for others that wait.
    pub(crate) fn is_needed(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > self.leaving.load(Ordering::SeqCst)
    }

    /// An instance begins to end.
    pub(crate) fn note_leaving(&self) {
        self.leaving.fetch_add(1, Ordering::SeqCst);
    }

    /// An instance may have become idle.
    pub(crate) fn note_idle(&self) {
        if self.is_needed() {
            self.changed.notify_one();
        }
    }

    pub(crate) fn register(&self, pool: Weak<dyn IdleInstances>) {
        let mut pools = self.pools();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool);
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn IdleInstances>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops idle instances, one for each that waits.
    fn stop_idle(&self) {
        while self.is_needed() {
            // Without the lock, since pools have their own locks.
            let pools: Vec<_> = self.pools().iter().filter_map(Weak::upgrade).collect();
            let idle = pools.iter().filter_map(|pool| Some((pool.idle_since()?, pool)));
            let Some((_, pool)) = idle.min_by_key(|(since, _)| *since) else { return };
            // Counted first, since the instance may be gone at once. If a call took it meanwhile, another is looked for.
            self.note_leaving();
            if !pool.stop_idle() {
                self.note_left();
            }
        }
    }

    fn note_left(&self) {
        let less = |leaving: usize| Some(leaving.saturating_sub(1));
        // The closure always returns a number, so this cannot fail.
        let _ = self.leaving.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

impl Drop for Reservation {
    /// Called with locks held, so it only wakes one that waits. An instance that ends by itself counts as one that was told to: so at
    /// times one too many is stopped, but never too few.
    fn drop(&mut self) {
        self.permits.clear();
        self.capacity.note_left();
        if self.capacity.waiting.load(Ordering::SeqCst) > 0 {
            self.capacity.changed.notify_one();
        }
    }
}

struct Waiter<'a>(&'a Capacity);

impl<'a> Waiter<'a> {
    fn new(capacity: &'a Capacity) -> Self {
        capacity.waiting.fetch_add(1, Ordering::SeqCst);
        Self(capacity)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn reservations_are_served_in_order_as_others_are_released() {
        let capacity = Capacity::new([("instances", 2), ("memories", 3)]);
        assert_eq!(capacity.exceeded_by(&[1, 4]), Some(("memories", 3)));
        assert_eq!(capacity.exceeded_by(&[2, 3]), None);
        let [first, second] = [capacity.reserve(&[1, 1]).await, capacity.reserve(&[1, 1]).await];
        assert_eq!(capacity.shortage(), None);
        let (mut large, mut small) = (Box::pin(capacity.reserve(&[1, 3])), Box::pin(capacity.reserve(&[1, 1])));
        assert!(large.as_mut().now_or_never().is_none() && small.as_mut().now_or_never().is_none());
        let shortage = capacity.shortage().unwrap();
        assert!(shortage.contains("all of its 2 instances are in use"), "{shortage}");
        drop(first);
        assert!(large.as_mut().now_or_never().is_none(), "a memory is missing");
        assert!(small.as_mut().now_or_never().is_none(), "it came later");
        drop(second);
        let large = large.as_mut().now_or_never().unwrap();
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        drop(small.as_mut().now_or_never().unwrap());
        assert_eq!(capacity.shortage(), None);
        assert_eq!(
            capacity.resources.iter().map(|resource| resource.free.available_permits()).collect::<Vec<_>>(),
            [2, 3]
        );
    }

    #[tokio::test]
    async fn a_reservation_that_stops_waiting_changes_nothing() {
        let capacity = Capacity::new([("instances", 1), ("memories", 1)]);
        let held = capacity.reserve(&[1, 1]).await;
        let mut waits = Box::pin(capacity.reserve(&[1, 1]));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(waits);
        assert!(!capacity.is_needed());
        drop(held);
        assert!(capacity.reserve(&[1, 1]).now_or_never().is_some());
    }
}
