//! [`Room`]: what the instances of all plugins of a host share, such as the places in an engine's pools.
//!
//! An instance enters before it is made and leaves when it is gone. Where there is no room, whoever wants to enter waits
//! in line, under the deadline of its call. Meanwhile idle instances of any plugin are stopped, the longest idle first,
//! and a plugin that keeps its instances busy gives one up after [`TURN`].

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long an instance may serve calls of its plugin while instances of others wait for room. Long against the time
/// that making one takes.
pub(crate) const TURN: Duration = Duration::from_millis(50);

/// Room for instances, shared by plugins.
pub struct Room {
    goods: Vec<Good>,
    /// Those that wait to enter.
    waiting: AtomicUsize,
    /// Instances that have been told to go for them. At most so many: see [`Seat`].
    leaving: AtomicUsize,
    /// Tells one that waits when room may have been made, or can be made.
    changed: Notify,
    pools: Mutex<Vec<Weak<dyn Spare>>>,
}

/// Something of which there is a limited number.
struct Good {
    name: &'static str,
    total: u32,
    free: Arc<Semaphore>,
}

/// The instances of one plugin, as seen by those that want room.
pub(crate) trait Spare: Send + Sync {
    /// Since when the instance has been idle that has been so for longest.
    fn idle_since(&self) -> Option<Instant>;

    /// Begins to stop that instance. False if there is none any more.
    fn stop_idle(&self) -> bool;
}

/// An instance's share of the room, until it is dropped: after the instance.
pub struct Seat {
    room: Arc<Room>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Room {
    /// Room with so many of each, by name in the plural.
    #[must_use]
    pub fn new(goods: impl IntoIterator<Item = (&'static str, u32)>) -> Arc<Self> {
        let good = |(name, total)| Good { name, total, free: Arc::new(Semaphore::new(total as usize)) };
        Arc::new(Self {
            goods: goods.into_iter().map(good).collect(),
            waiting: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            changed: Notify::new(),
            pools: Mutex::default(),
        })
    }

    /// The first good of which there is less than an instance needs, even if no other lived: its name and number.
    #[must_use]
    pub fn lacks(&self, needs: &[u32]) -> Option<(&'static str, u32)> {
        let lacks = |(good, need): &(&Good, &u32)| **need > good.total;
        self.goods.iter().zip(needs).find(lacks).map(|(good, _)| (good.name, good.total))
    }

    /// Enters with so many of each good; waits in line where there are not so many.
    pub async fn enter(self: &Arc<Self>, needs: &[u32]) -> Seat {
        let mut seat = Seat { room: Arc::clone(self), permits: Vec::with_capacity(needs.len()) };
        let wanted = || self.goods.iter().map(|good| &good.free).zip(needs.iter().copied());
        // Nobody has some of one good and waits for another for ever: all take them in the same order.
        let mut wanted_now = wanted();
        let at_once = wanted_now.all(|(free, need)| match Arc::clone(free).try_acquire_many_owned(need) {
            Ok(permit) => {
                seat.permits.push(permit);
                true
            }
            Err(_) => false,
        });
        if at_once {
            return seat;
        }
        {
            let missing = seat.permits.len();
            let mut wait = pin!(async {
                for (free, need) in wanted().skip(missing) {
                    // It is never closed.
                    seat.permits.extend(Arc::clone(free).acquire_many_owned(need).await);
                }
            });
            let _waiter = Waiter::new(self);
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                self.make();
                tokio::select! {
                    biased;
                    () = &mut wait => break,
                    () = changed => {}
                }
            }
        }
        seat
    }

    /// What those wait for that wait to enter, if there are any.
    #[must_use]
    pub fn waited_for(&self) -> Option<String> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let short = self.goods.iter().find(|good| good.free.available_permits() == 0).or(self.goods.first())?;
        Some(format!("room in the engine: all of its {} {} are in use", short.total, short.name))
    }

    /// Whether an instance should go for others that wait.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > self.leaving.load(Ordering::SeqCst)
    }

    /// An instance goes.
    pub(crate) fn leave(&self) {
        self.leaving.fetch_add(1, Ordering::SeqCst);
    }

    /// An instance may have become idle.
    pub(crate) fn offer(&self) {
        if self.is_wanted() {
            self.changed.notify_one();
        }
    }

    pub(crate) fn register(&self, pool: Weak<dyn Spare>) {
        let mut pools = self.pools();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool);
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Spare>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has idle instances stop, one for each that waits.
    fn make(&self) {
        while self.is_wanted() {
            // Without the lock: pools have locks of their own.
            let pools: Vec<_> = self.pools().iter().filter_map(Weak::upgrade).collect();
            let idle = pools.iter().filter_map(|pool| Some((pool.idle_since()?, pool)));
            let Some((_, pool)) = idle.min_by_key(|(since, _)| *since) else { return };
            // Before it: the instance may be gone at once. Taken by a call meanwhile, another is looked for.
            self.leave();
            if !pool.stop_idle() {
                self.left();
            }
        }
    }

    fn left(&self) {
        let less = |leaving: usize| Some(leaving.saturating_sub(1));
        // It gives a number in any case.
        let _ = self.leaving.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

impl Drop for Seat {
    /// Called with locks held: it tells those that wait and no more. An instance that goes by itself counts as one that was
    /// told to: then one too many is stopped at times, and none too few.
    fn drop(&mut self) {
        self.permits.clear();
        self.room.left();
        if self.room.waiting.load(Ordering::SeqCst) > 0 {
            self.room.changed.notify_one();
        }
    }
}

struct Waiter<'a>(&'a Room);

impl<'a> Waiter<'a> {
    fn new(room: &'a Room) -> Self {
        room.waiting.fetch_add(1, Ordering::SeqCst);
        Self(room)
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
    async fn those_that_find_no_room_enter_in_order_as_others_leave() {
        let room = Room::new([("instances", 2), ("memories", 3)]);
        assert_eq!(room.lacks(&[1, 4]), Some(("memories", 3)));
        assert_eq!(room.lacks(&[2, 3]), None);
        let [first, second] = [room.enter(&[1, 1]).await, room.enter(&[1, 1]).await];
        assert_eq!(room.waited_for(), None);
        let (mut large, mut small) = (Box::pin(room.enter(&[1, 3])), Box::pin(room.enter(&[1, 1])));
        assert!(large.as_mut().now_or_never().is_none() && small.as_mut().now_or_never().is_none());
        let waited_for = room.waited_for().unwrap();
        assert!(waited_for.contains("all of its 2 instances are in use"), "{waited_for}");
        drop(first);
        assert!(large.as_mut().now_or_never().is_none(), "a memory is missing");
        assert!(small.as_mut().now_or_never().is_none(), "it came later");
        drop(second);
        let large = large.as_mut().now_or_never().unwrap();
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        drop(small.as_mut().now_or_never().unwrap());
        assert_eq!(room.waited_for(), None);
        assert_eq!(room.goods.iter().map(|good| good.free.available_permits()).collect::<Vec<_>>(), [2, 3]);
    }

    #[tokio::test]
    async fn one_that_gives_up_waiting_leaves_the_room_as_it_was() {
        let room = Room::new([("instances", 1), ("memories", 1)]);
        let held = room.enter(&[1, 1]).await;
        let mut waits = Box::pin(room.enter(&[1, 1]));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(waits);
        assert!(!room.is_wanted());
        drop(held);
        assert!(room.enter(&[1, 1]).now_or_never().is_some());
    }
}
