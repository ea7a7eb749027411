//! The pool: who gets which instance, and when.
//!
//! A queue with one place for each call that may run, and then who admits the call, decide *when*; the slots decide *which*; one short
//! lock keeps places and slots. Instances are made when a call needs one and none is free, side by side, and no more than the calls that wait
//! can use. Those that died are replaced at the pace of the [`RestartPolicy`](crate::RestartPolicy); those that no call
//! needs are stopped.

use std::borrow::Borrow;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bivium_interface::{Admission, Admit, CallHandle, CallId, ErrorCode, PluginError, Result, Stats};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::idle::{self, Idle};
use crate::lease::{Hold, Lease};
use crate::queue::{Line, Queue};
use crate::room::Spare;
use crate::slots::{Driver, Known, Left, Next, Numbered, Slots, Started, Wanted, Work};
use crate::{Instance, InstanceFactory, PoolLimits};

/// Instances that one call finds unfit before it takes the next as it is.
const UNFIT: u32 = 8;

pub(crate) struct Pool<F: InstanceFactory> {
    factory: Arc<F>,
    pub(crate) limits: PoolLimits,
    queue: Queue<Slots<F::Instance>>,
    /// Calls that have a place and look for an instance.
    seekers: AtomicUsize,
    /// Tells them when an instance may have become free, or a start has ended.
    changed: Notify,
    /// Stops what is idle, while there is anything to stop.
    watcher: Mutex<Option<Driver>>,
    own: Weak<Self>,
}

/// How long a question and a configuration wait for an instance, where others may have what it needs.
const WAIT: Duration = Duration::from_secs(60);

const MAKE_ROOM: &str = "unload a plugin, lower `instances.max` in manifests, or raise `WasmConfig::instances`";

impl<F: InstanceFactory> Pool<F> {
    pub(crate) fn new(factory: F) -> Arc<Self> {
        let mut limits = factory.limits();
        limits.instances = limits.instances.max(1);
        limits.calls_per_instance = if limits.single_use { 1 } else { limits.calls_per_instance.max(1) };
        let pool = Arc::new_cyclic(|own| Self {
            own: own.clone(),
            factory: Arc::new(factory),
            limits,
            queue: Queue::new(Slots::new(limits), Self::places_of(limits), limits.queue),
            seekers: AtomicUsize::new(0),
            changed: Notify::new(),
            watcher: Mutex::default(),
        });
        if let Some(room) = pool.factory.room() {
            room.register(pool.own.clone());
        }
        pool
    }

    pub(crate) fn factory(&self) -> &F {
        &self.factory
    }

    fn places_of(limits: PoolLimits) -> usize {
        limits.instances as usize * limits.calls_per_instance as usize
    }

    pub(crate) fn line(&self) -> MutexGuard<'_, Line<Slots<F::Instance>>> {
        self.queue.line()
    }

    /// The same, unless the pool is closed.
    fn open_line(&self) -> Result<MutexGuard<'_, Line<Slots<F::Instance>>>> {
        let line = self.line();
        if line.kept.closed {
            return Err(PluginError::unavailable("the plugin is unloaded").with_help("load it again"));
        }
        Ok(line)
    }

    /// The right to run a call, and an instance for it, where both are there and the call is admitted at once.
    pub(crate) fn try_lease(self: &Arc<Self>, admit: Option<&dyn Admit>) -> Option<Lease<F, &Arc<Self>>> {
        let (id, instance) = {
            let mut line = self.line();
            if !line.take() {
                return None;
            }
            let taken = line.kept.take();
            match &taken {
                Some(_) => line.kept.calls.begin(),
                None => line.give(1),
            }
            taken?
        };
        let mut hold = Hold::new(self);
        hold.seat = Some(id);
        let admission = match admit {
            _ if !instance.is_fit() => None,
            Some(admit) => admit.admit_at_once(),
            None => Some(Admission::default()),
        };
        let Some(admission) = admission else {
            self.line().kept.calls.withdraw();
            return None;
        };
        hold.admission = admission;
        hold.work = Some(Work::new());
        Some(Lease { instance, hold })
    }

    /// Waits for the right to run a call, makes an instance if none is free, and gives it. The place comes before the admission:
    /// a call that waits for its own plugin must not take what the calls of others could use.
    pub(crate) async fn lease<P: Borrow<Arc<Self>>>(
        pool: P,
        call: &CallHandle,
        admit: Option<&dyn Admit>,
    ) -> Result<Lease<F, P>> {
        pool.borrow().queue.wait(call).await?;
        let mut hold = Hold::new(pool);
        if let Some(admit) = admit {
            hold.admission = admit.enter(call).await?;
        }
        let instance = Self::seat_for(&mut hold, call).await?;
        hold.pool.borrow().line().kept.calls.begin();
        hold.work = Some(Work::new());
        Ok(Lease { instance, hold })
    }

    /// A lease outside of any call, for questions to an instance.
    pub(crate) async fn lease_for_question(self: &Arc<Self>) -> Result<Lease<F, &Arc<Self>>> {
        self.queue.wait_for(1).await?;
        let mut hold = Hold::new(self);
        let instance = self.in_time(Self::fit_seat(&mut hold)).await?;
        Ok(Lease { instance, hold })
    }

    /// A seat for a call, under its deadline.
    async fn seat_for<P: Borrow<Arc<Self>>>(hold: &mut Hold<F, P>, call: &CallHandle) -> Result<Arc<F::Instance>> {
        let pool = Arc::clone(hold.pool.borrow());
        call.unless_interrupted(Self::fit_seat(hold)).await.unwrap_or_else(|error| Err(pool.waited(error)))
    }

    /// The error of a call that still waits for a seat: says what it waited for.
    fn waited(&self, error: PluginError) -> PluginError {
        let starting = self.line().kept.starting() > 0;
        match self.factory.room().and_then(|room| room.waited_for()) {
            Some(room) if starting && error.code() == ErrorCode::Timeout => {
                let message = format!("{}; it waited for {room}", error.message());
                PluginError::timeout(message).with_help(MAKE_ROOM)
            }
            _ => error,
        }
    }

    /// Waits for an instance outside of any call, and not for ever where others may have what it needs.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(room) = self.factory.room() else { return work.await };
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            () = sleep(WAIT) => {
                let waited_for = room.waited_for().unwrap_or_else(|| "an instance that was starting".to_owned());
                let message = format!("there was no instance of the plugin after {} s; it waited for {waited_for}", WAIT.as_secs());
                Err(PluginError::timeout(message).with_help(MAKE_ROOM))
            }
        }
    }

    /// A seat in an instance that can take the call.
    async fn fit_seat<P: Borrow<Arc<Self>>>(hold: &mut Hold<F, P>) -> Result<Arc<F::Instance>> {
        for _ in 0..UNFIT {
            let instance = Self::seat(hold).await?;
            if instance.is_fit() {
                return Ok(instance);
            }
            hold.pool.borrow().leave(hold.seat.take(), None, 0);
        }
        // Whatever is wrong is wrong with each: the call itself says what.
        Self::seat(hold).await
    }

    /// A seat in an instance that is free or becomes free, or in one that is started for it: whichever comes first.
    async fn seat<P: Borrow<Arc<Self>>>(hold: &mut Hold<F, P>) -> Result<Arc<F::Instance>> {
        let pool = hold.pool.borrow();
        let _seeker = Seeker::new(&pool.seekers);
        let mut started = loop {
            // Listens before it looks, so that no change in between is missed.
            let changed = pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let (dead, next) = {
                let slots = &mut pool.open_line()?.kept;
                (slots.remove_dead(now), slots.next(now, |id, config| pool.start(id, config)))
            };
            // Without the lock.
            drop(dead);
            match next {
                Next::Take(id, instance) => {
                    hold.seat = Some(id);
                    return Ok(instance);
                }
                Next::Await(id, started) => {
                    hold.seat = Some(id);
                    break started;
                }
                Next::Later(then) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(then) => {}
                },
                Next::Wait => changed.await,
                Next::Refused(error) => return Err(error),
            }
        };
        // The start, or a place that becomes free elsewhere: then the start goes on for the next call.
        loop {
            let changed = pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let free = pool.open_line()?.kept.take();
            if let Some((id, instance)) = free {
                if let Some(starting) = hold.seat.replace(id) {
                    // One that waits for room, of which there is too little, goes.
                    if pool.factory.room().is_none_or(|room| room.waited_for().is_none()) {
                        pool.line().kept.keep(starting, |started| {
                            // It lives as long as its slot.
                            Driver(tokio::spawn(async move { drop(started.await) }).abort_handle())
                        });
                    }
                    pool.leave(Some(starting), None, 0);
                }
                return Ok(instance);
            }
            tokio::select! {
                biased;
                instance = &mut started => return instance,
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
            Ok(instance) if self.line().kept.ready(id, &instance, now) => Ok(instance),
            Ok(_) => Err(PluginError::unavailable("the plugin was unloaded while it started")),
            Err(error) => {
                let mut line = self.line();
                let failed = line.kept.remove(id);
                if let Some(slot) = &failed
                    && self.factory.is_crash(&error)
                {
                    line.kept.crashed(slot.age, error.clone(), now);
                }
                drop(line);
                Err(error)
            }
        };
        self.changed.notify_waiters();
        self.watch();
        settled
    }

    /// A call lets go of its seat and of so many places, and says how it ended.
    pub(crate) fn leave(self: &Arc<Self>, seat: Option<u64>, work: Option<&Work>, places: usize) {
        let now = work.and_then(Work::ended).unwrap_or_else(Instant::now);
        let (left, wants_watch) = {
            let mut line = self.line();
            if let Some(work) = work {
                line.kept.calls.end(work, now);
            }
            let own = line.has_waiting() || self.seekers.load(Ordering::Relaxed) > 0;
            let wanted = match self.factory.room() {
                Some(room) if room.is_wanted() => {
                    if own {
                        Wanted::AfterItsTurn
                    } else {
                        Wanted::Now
                    }
                }
                _ => Wanted::No,
            };
            let left = seat.map_or(Left::Nothing, |id| line.kept.give_back(id, now, wanted));
            line.give(places);
            (left, line.kept.wants_watch())
        };
        match left {
            Left::Nothing if self.seekers.load(Ordering::Relaxed) == 0 => {}
            Left::Nothing => self.changed.notify_one(),
            Left::Start(slot) => {
                drop(slot);
                self.changed.notify_waiters();
            }
            Left::Instance(instance) => {
                self.changed.notify_waiters();
                close_later(instance);
            }
            Left::ForOthers(instance) => {
                if let Some(room) = self.factory.room() {
                    room.leave();
                }
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
        if let Some(room) = self.factory.room() {
            room.offer();
        }
        if self.line().kept.wants_watch() {
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
            _ => self.line().kept.unwatch(),
        }
    }

    fn watcher(&self) -> MutexGuard<'_, Option<Driver>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out of use what has been idle for too long, and tells when to look again.
    pub(crate) fn take_idle(&self, policy: Idle) -> (Numbered<F::Instance>, Option<Instant>) {
        self.line().kept.idle(policy, Instant::now())
    }

    /// An instance that was taken out of use has ended.
    pub(crate) fn forget(&self, id: u64) {
        let slot = self.line().kept.remove(id);
        // Without the lock.
        drop(slot);
        self.changed.notify_waiters();
    }

    /// Applies a configuration to every instance or to none. Waits until no call runs.
    pub(crate) async fn configure(self: &Arc<Self>, config: Value) -> Result<()> {
        let _all = self.drained().await?;
        self.until_closed().await;
        let (old, instances) = {
            let mut line = self.line();
            let slots = &mut line.kept;
            // A start that goes on by itself has the configuration before.
            let dropped = (slots.remove_dead(Instant::now()), slots.drop_starts());
            let found = (slots.config.clone(), slots.instances());
            drop(line);
            drop(dropped);
            found
        };
        if instances.is_empty() {
            // Whoever configures a plugin that crashed has mended it, or wants to know that it is not.
            let begun = Instant::now();
            let instance = self.in_time(make(self.factory(), Some(&config))).await?;
            let mut line = self.open_line()?;
            line.kept.restarts.forget();
            line.kept.add(instance, begun, Instant::now());
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
        self.line().kept.config = Some(Arc::new(config));
        self.watch();
        Ok(())
    }

    /// Waits until those that were idle have ended.
    async fn until_closed(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.line().kept.is_closing() {
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
                drop(self.line().kept.remove(*id));
                instance.close().await;
            }
        }
    }

    /// Waits until no call runs; calls made meanwhile wait behind, for as long as what is given is held.
    pub(crate) async fn drained(&self) -> Result<Drained<'_, F>> {
        self.queue.wait_for(Self::places_of(self.limits)).await?;
        Ok(Drained(self))
    }

    /// Refuses further calls and closes every instance, also those that still run a call.
    pub(crate) async fn close(&self) {
        let watcher = self.watcher().take();
        drop(watcher);
        let slots = {
            let mut line = self.line();
            line.close();
            line.kept.closed = true;
            line.kept.drain()
        };
        self.changed.notify_waiters();
        let instances: Vec<_> = slots.iter().filter_map(|slot| slot.instance().map(Arc::clone)).collect();
        drop(slots);
        join_all(instances.iter().map(|instance| instance.close())).await;
    }

    /// Where a call stands that waits for a place.
    pub(crate) fn position(&self, call: CallId) -> Option<usize> {
        self.queue.position(call)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.line().kept.closed
    }

    pub(crate) async fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        stats.waiting = self.queue.waiting();
        let known = self.line().kept.tell(&mut stats, Instant::now());
        let stats_of = |known: Known<F::Instance>| {
            let mut stats = known.instance.stats();
            stats.start_s = known.start.as_secs_f64();
            stats.idle_s = known.idle.map(|idle| idle.as_secs_f64());
            stats
        };
        // Without the lock, and on a thread that may block: measuring processes takes its time.
        let measured = tokio::task::spawn_blocking(move || known.into_iter().map(stats_of).collect()).await;
        stats.instances =
            measured.map_err(|error| PluginError::internal(format!("its figures were not measured: {error}")))?;
        Ok(stats)
    }
}

impl<F: InstanceFactory> Spare for Pool<F> {
    fn idle_since(&self) -> Option<Instant> {
        self.line().kept.idle_since()
    }

    fn stop_idle(&self) -> bool {
        let taken = self.line().kept.take_idle();
        let Some((id, instance)) = taken else { return false };
        let pool = self.own.clone();
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    instance.close().await;
                    if let Some(pool) = pool.upgrade() {
                        pool.forget(id);
                    }
                });
            }
            Err(_) => self.forget(id),
        }
        true
    }
}

/// All places of a pool, until it is dropped: no call runs.
pub(crate) struct Drained<'a, F: InstanceFactory>(&'a Pool<F>);

impl<F: InstanceFactory> Drop for Drained<'_, F> {
    fn drop(&mut self) {
        self.0.line().give(Pool::<F>::places_of(self.0.limits));
    }
}

/// One that has a place and looks for an instance, while it lives.
struct Seeker<'a>(&'a AtomicUsize);

impl<'a> Seeker<'a> {
    /// To be made before one looks: whoever lets go of an instance later sees that somebody seeks one.
    fn new(seekers: &'a AtomicUsize) -> Self {
        seekers.fetch_add(1, Ordering::Relaxed);
        Self(seekers)
    }
}

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
            drop(self.pool.line().kept.remove(id));
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
