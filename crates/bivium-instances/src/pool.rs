//! The pool: who gets which instance, and when.
//!
//! A queue with one place for each call that may run decides *when*; the slots decide *which*. Instances are made when
//! a call needs one and none is free, side by side, and no more than the calls that wait can use. Those that died are
//! replaced at the pace of the [`RestartPolicy`](crate::RestartPolicy); those that no call needs are stopped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallHandle, InstanceStats, PluginError, Result, Stats};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep_until};

use crate::idle::{self, Idle};
use crate::queue::Queue;
use crate::slots::{Driver, Known, Left, Next, Numbered, Slots, Started};
use crate::{Instance, InstanceFactory, PoolLimits};

pub(crate) struct Pool<F: InstanceFactory> {
    factory: Arc<F>,
    limits: PoolLimits,
    pub(crate) queue: Queue,
    slots: Mutex<Slots<F::Instance>>,
    /// Told when a place may have become free, or a start has ended.
    changed: Notify,
    /// Stops what is idle, while there is anything to stop.
    watcher: Mutex<Option<Driver>>,
}

/// A call's place in a slot, while it lives.
struct Seat<F: InstanceFactory> {
    pool: Arc<Pool<F>>,
    id: u64,
}

impl<F: InstanceFactory> Drop for Seat<F> {
    fn drop(&mut self) {
        self.pool.give_back(self.id);
    }
}

type Seated<F> = (Seat<F>, Arc<<F as InstanceFactory>::Instance>);

/// The right to run one call on an instance.
pub(crate) struct Lease<F: InstanceFactory> {
    instance: Arc<F::Instance>,
    seat: Seat<F>,
    _place: OwnedSemaphorePermit,
}

impl<F: InstanceFactory> Lease<F> {
    pub(crate) fn instance(&self) -> &Arc<F::Instance> {
        &self.instance
    }

    /// Ends the lease of a call that has its result. An instance for one call ends here and now: memory that is given
    /// back by the thread that took it costs the other processors nothing.
    pub(crate) async fn end(self) {
        let Seat { pool, id } = &self.seat;
        if pool.limits.single_use && pool.slots().take_out(*id) {
            self.instance.close().await;
        }
    }
}

impl<F: InstanceFactory> Pool<F> {
    pub(crate) fn new(factory: F) -> Self {
        let mut limits = factory.limits();
        limits.instances = limits.instances.max(1);
        limits.calls_per_instance = if limits.single_use { 1 } else { limits.calls_per_instance.max(1) };
        Self {
            factory: Arc::new(factory),
            limits,
            queue: Queue::new(Self::places_of(limits) as usize, limits.queue),
            slots: Mutex::new(Slots::new(limits)),
            changed: Notify::new(),
            watcher: Mutex::default(),
        }
    }

    pub(crate) fn factory(&self) -> &F {
        &self.factory
    }

    fn places_of(limits: PoolLimits) -> u32 {
        // A semaphore's permits are taken by a u32 at once; the product of two manifest numbers stays far below.
        limits.instances.saturating_mul(limits.calls_per_instance).min(u32::MAX >> 4)
    }

    fn slots(&self) -> MutexGuard<'_, Slots<F::Instance>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slots, unless the pool is closed.
    fn open_slots(&self) -> Result<MutexGuard<'_, Slots<F::Instance>>> {
        let slots = self.slots();
        if slots.closed {
            return Err(PluginError::unavailable("the plugin is unloaded").with_help("load it again"));
        }
        Ok(slots)
    }

    /// Waits for the right to run a call, makes an instance if none is free, and gives it.
    pub(crate) async fn lease(self: &Arc<Self>, call: &CallHandle) -> Result<Lease<F>> {
        let place = self.queue.enter(call).await?;
        let (seat, instance) = match self.take()? {
            Some(taken) => taken,
            // Seldom and large: in a box, so that what each call moves about stays small.
            None => Box::pin(call.guard(self.seat())).await?,
        };
        Ok(Lease { instance, seat, _place: place })
    }

    /// A lease outside of any call, for questions to an instance.
    pub(crate) async fn lease_for_question(self: &Arc<Self>) -> Result<Lease<F>> {
        let place = self.queue.place().await?;
        let (seat, instance) = self.seat().await?;
        Ok(Lease { instance, seat, _place: place })
    }

    fn take(self: &Arc<Self>) -> Result<Option<Seated<F>>> {
        let taken = self.open_slots()?.take();
        Ok(taken.map(|(id, instance)| (self.seat_in(id), instance)))
    }

    fn seat_in(self: &Arc<Self>, id: u64) -> Seat<F> {
        Seat { pool: Arc::clone(self), id }
    }

    /// A place in an instance that is free or becomes free, or in one that is started for it: whichever comes first.
    async fn seat(self: &Arc<Self>) -> Result<Seated<F>> {
        let (seat, started) = loop {
            // Listens before it looks, so that no change in between is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let (dead, next) = {
                let mut slots = self.open_slots()?;
                (slots.bury(now), slots.next(now, |id, config| self.start(id, config)))
            };
            // Without the lock.
            drop(dead);
            match next {
                Next::Take(id, instance) => return Ok((self.seat_in(id), instance)),
                Next::Await(id, started) => break (self.seat_in(id), started),
                Next::Later(then) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(then) => {}
                },
                Next::Wait => changed.await,
                Next::Refused(error) => return Err(error),
            }
        };
        self.started_or_free(seat, started).await
    }

    /// Waits for a start, or for a place that becomes free elsewhere: then the start goes on for the next call.
    async fn started_or_free(self: &Arc<Self>, seat: Seat<F>, mut started: Started<F::Instance>) -> Result<Seated<F>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(free) = self.take()? {
                self.slots().keep(seat.id, |started| {
                    // It lives as long as its slot.
                    Driver(tokio::spawn(async move { drop(started.await) }).abort_handle())
                });
                return Ok(free);
            }
            tokio::select! {
                biased;
                instance = &mut started => return instance.map(|instance| (seat, instance)),
                () = changed => {}
            }
        }
    }

    /// Makes an instance for a slot, with the configuration in force. Dropping it in the middle leaves nothing.
    fn start(self: &Arc<Self>, id: u64, config: Option<Arc<Value>>) -> Started<F::Instance> {
        let (factory, pool) = (Arc::clone(&self.factory), Arc::downgrade(self));
        let work = async move {
            let made = make(&*factory, config.as_deref()).await;
            match pool.upgrade() {
                Some(pool) => pool.started(id, made),
                None => made,
            }
        };
        work.boxed().shared()
    }

    fn started(self: &Arc<Self>, id: u64, made: Result<Arc<F::Instance>>) -> Result<Arc<F::Instance>> {
        let now = Instant::now();
        let settled = match made {
            Ok(instance) if self.slots().ready(id, &instance, now) => Ok(instance),
            Ok(_) => Err(PluginError::unavailable("the plugin was unloaded while it started")),
            Err(error) => {
                let mut slots = self.slots();
                let failed = slots.remove(id);
                if let Some(slot) = &failed {
                    slots.crashed(slot.age, error.clone(), now);
                }
                drop(slots);
                Err(error)
            }
        };
        self.changed.notify_waiters();
        self.watch();
        settled
    }

    fn give_back(self: &Arc<Self>, id: u64) {
        let (left, wants_watch) = {
            let mut slots = self.slots();
            (slots.give_back(id, Instant::now()), slots.wants_watch())
        };
        match left {
            Left::Nothing => self.changed.notify_one(),
            Left::Start(slot) => {
                drop(slot);
                self.changed.notify_waiters();
            }
            Left::Instance(instance) => {
                self.changed.notify_waiters();
                close_later(instance);
            }
        }
        if wants_watch {
            self.begin_watch();
        }
    }

    /// Has somebody look after idle instances, where there are any and nobody does.
    fn watch(self: &Arc<Self>) {
        if self.slots().wants_watch() {
            self.begin_watch();
        }
    }

    fn begin_watch(self: &Arc<Self>) {
        // Without a runtime, the next call that ends in one sees to it.
        match (Handle::try_current(), self.limits.idle) {
            (Ok(runtime), Some(policy)) => {
                let task = runtime.spawn(idle::watch(Arc::downgrade(self), policy));
                self.watcher().replace(Driver(task.abort_handle()));
            }
            _ => self.slots().unwatch(),
        }
    }

    fn watcher(&self) -> MutexGuard<'_, Option<Driver>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out of use what has been idle for too long, and tells when to look again.
    pub(crate) fn take_idle(&self, policy: Idle) -> (Numbered<F::Instance>, Option<Instant>) {
        self.slots().idle(policy, Instant::now())
    }

    /// An instance that was taken out of use has ended.
    pub(crate) fn forget(&self, id: u64) {
        drop(self.slots().remove(id));
        self.changed.notify_waiters();
    }

    /// Applies a configuration to every instance or to none. Waits until no call runs.
    pub(crate) async fn configure(self: &Arc<Self>, config: Value) -> Result<()> {
        let _all = self.drained().await?;
        self.until_closed().await;
        let (old, instances) = {
            let mut slots = self.slots();
            // A start that goes on by itself has the configuration before.
            let dropped = (slots.bury(Instant::now()), slots.drop_starts());
            let found = (slots.config.clone(), slots.instances());
            drop(slots);
            drop(dropped);
            found
        };
        if instances.is_empty() {
            // Whoever configures a plugin that crashed has mended it, or wants to know that it is not.
            let begun = Instant::now();
            let instance = make(self.factory(), Some(&config)).await?;
            let mut slots = self.open_slots()?;
            slots.restarts.forget();
            slots.add(instance, begun, Instant::now());
        }
        let mut touched = Touched { pool: self, instances: Vec::new() };
        for (id, instance) in instances {
            touched.instances.push((id, Arc::clone(&instance)));
            if let Err(error) = instance.initialize(&config).await {
                // The one that failed says that it kept the old configuration; it is told again all the same.
                self.roll_back(&touched.instances, old.as_deref()).await;
                touched.instances.clear();
                return Err(error);
            }
        }
        touched.instances.clear();
        drop(touched);
        self.slots().config = Some(Arc::new(config));
        self.watch();
        Ok(())
    }

    /// Waits until those that were idle have ended.
    async fn until_closed(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.slots().is_closing() {
                return;
            }
            changed.await;
        }
    }

    /// Puts the old configuration back; an instance that refuses it is ended, and the next call makes another.
    async fn roll_back(&self, instances: &[(u64, Arc<F::Instance>)], old: Option<&Value>) {
        for (id, instance) in instances {
            let restored = match old {
                Some(old) => instance.initialize(old).await.is_ok(),
                None => false,
            };
            if !restored {
                drop(self.slots().remove(*id));
                instance.close().await;
            }
        }
    }

    /// Waits until no call runs; calls made meanwhile wait behind, for as long as what is given is held.
    pub(crate) async fn drained(&self) -> Result<OwnedSemaphorePermit> {
        self.queue.places(Self::places_of(self.limits)).await
    }

    /// Refuses further calls and closes every instance, also those that still run a call.
    pub(crate) async fn close(&self) {
        self.queue.close();
        let watcher = self.watcher().take();
        drop(watcher);
        let slots = {
            let mut slots = self.slots();
            slots.closed = true;
            slots.drain()
        };
        self.changed.notify_waiters();
        let instances: Vec<_> = slots.iter().filter_map(|slot| slot.instance().map(Arc::clone)).collect();
        drop(slots);
        join_all(instances.iter().map(|instance| instance.close())).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.slots().closed
    }

    pub(crate) fn tell(&self, stats: &mut Stats) {
        stats.waiting = self.queue.waiting();
        let known = self.slots().tell(stats, Instant::now());
        // Without the lock: measuring processes takes its time.
        let stats_of = |known: Known<F::Instance>| InstanceStats {
            start_s: known.start.as_secs_f64(),
            idle_s: known.idle.map(|idle| idle.as_secs_f64()),
            ..known.instance.stats()
        };
        stats.instances = known.into_iter().map(stats_of).collect();
    }
}

/// An instance, configured if there is a configuration.
async fn make<F: InstanceFactory>(factory: &F, config: Option<&Value>) -> Result<Arc<F::Instance>> {
    let instance = Arc::new(factory.create().await?);
    if let Some(config) = config
        && let Err(error) = instance.initialize(config).await
    {
        instance.close().await;
        return Err(error);
    }
    Ok(instance)
}

/// Instances that a change of configuration has reached. Dropped in the middle of the change, it ends them, since
/// nobody knows which configuration they have: the next call makes others with the one in force.
struct Touched<'a, F: InstanceFactory> {
    pool: &'a Pool<F>,
    instances: Numbered<F::Instance>,
}

impl<F: InstanceFactory> Drop for Touched<'_, F> {
    fn drop(&mut self) {
        for (id, instance) in self.instances.drain(..) {
            drop(self.pool.slots().remove(id));
            close_later(instance);
        }
    }
}

/// Closes an instance where nobody waits for it. Without a runtime, dropping it must do.
fn close_later<I: Instance>(instance: Arc<I>) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move { instance.close().await });
    }
}
