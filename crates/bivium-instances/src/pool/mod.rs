//! The pool: which call gets which instance, and when.
//!
//! The queue and then the admission decide *when* a call runs; the slots decide on *which* instance. The queue has as many places as
//! calls may run at the same time. One short lock protects places and slots. An instance is made when a call needs one and none is
//! free; several may be made at the same time, but no more than the waiting calls can use. Dead instances are replaced at the pace
//! of the [`RestartPolicy`](crate::RestartPolicy), and idle ones are stopped.

mod idle;
mod lease;
mod progress;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bivium_interface::{Admission, Admit, CallHandle, CallId, ErrorCode, PluginError, Result, Stats};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use lease::{Hold, Lease, PoolRef};
use progress::StartProgress;

use crate::capacity::IdleInstances;
use crate::devices::{DeviceAccess, DeviceRequest, InstanceUse, Placed, PlacedInstances, Placement};
use crate::instance::{Instance, InstanceFactory};
use crate::limits::{Idle, PoolLimits};
use crate::queue::{Queue, QueueState};
use crate::slots::{AbortOnDrop, CallRecord, Demand, Freed, Known, Next, Numbered, Slots, Started};

/// How many instances a call rejects; after that it takes the next one unchecked ([`Instance::is_fit`]).
const UNFIT: u32 = 8;

pub(crate) struct Pool<F: InstanceFactory> {
    factory: Arc<F>,
    pub(crate) limits: PoolLimits,
    queue: Queue<Slots<F::Instance>>,
    /// How many calls have a place and look for an instance.
    looking: AtomicUsize,
    /// Wakes them when an instance may have become free, or a start has ended.
    changed: Notify,
    /// The task that stops idle instances, while there are any.
    watcher: Mutex<Option<AbortOnDrop>>,
    weak_self: Weak<Self>,
}

/// How long a question or a configuration waits for an instance. Used only where plugins share the engine's room, which others may
/// have taken.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long an instance may take to release its memory.
const RELEASE_TIME: Duration = Duration::from_secs(10);

const CAPACITY_HELP: &str = "unload a plugin, lower `instances.max` in manifests, or raise `WasmConfig::instances`";

impl<F: InstanceFactory> Pool<F> {
    pub(crate) fn new(factory: F) -> Arc<Self> {
        let mut limits = factory.limits();
        limits.instances = limits.instances.max(1);
        limits.calls_per_instance = if limits.single_use { 1 } else { limits.calls_per_instance.max(1) };
        let pool = Arc::new_cyclic(|weak_self| Self {
            weak_self: weak_self.clone(),
            factory: Arc::new(factory),
            limits,
            queue: Queue::new(Slots::new(limits), Self::places_of(limits), limits.queue),
            looking: AtomicUsize::new(0),
            changed: Notify::new(),
            watcher: Mutex::default(),
        });
        if let Some(capacity) = pool.factory.capacity() {
            capacity.register(pool.weak_self.clone());
        }
        pool
    }

    pub(crate) fn factory(&self) -> &F {
        &self.factory
    }

    fn places_of(limits: PoolLimits) -> usize {
        limits.instances as usize * limits.calls_per_instance as usize
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, QueueState<Slots<F::Instance>>> {
        self.queue.lock()
    }

    /// Locks the pool, unless it is closed.
    fn lock_open(&self) -> Result<MutexGuard<'_, QueueState<Slots<F::Instance>>>> {
        let state = self.lock();
        if state.slots.closed {
            return Err(PluginError::unavailable("the plugin is unloaded").with_help("load it again"));
        }
        Ok(state)
    }

    /// A lease for a call, if a place and an instance are free and the call is admitted at once.
    pub(crate) fn try_lease(self: &Arc<Self>, admit: Option<&dyn Admit>) -> Option<Lease<'_, F>> {
        let (id, instance) = {
            let mut state = self.lock();
            if !state.take() {
                return None;
            }
            let taken = state.slots.take();
            match &taken {
                Some(_) => state.slots.calls.begin(),
                None => state.give(1),
            }
            taken?
        };
        let mut hold = Hold::new(PoolRef::Borrowed(self));
        hold.slot = Some(id);
        let admission = match admit {
            _ if !instance.is_fit() => None,
            Some(admit) => admit.admit_at_once(),
            None => Some(Admission::default()),
        };
        let Some(admission) = admission else {
            self.lock().slots.calls.withdraw();
            return None;
        };
        hold.admission = admission;
        hold.record = Some(CallRecord::new());
        Some(Lease { instance, hold })
    }

    /// Waits for a lease for a call, and makes an instance if none is free. A call gets its place first and is admitted then. Otherwise
    /// it would hold memory and processor slots while it waits for its own plugin.
    pub(crate) async fn lease<'p>(
        pool: PoolRef<'p, F>,
        call: &CallHandle,
        admit: Option<&dyn Admit>,
    ) -> Result<Lease<'p, F>> {
        pool.queue.wait(call).await?;
        let mut hold = Hold::new(pool);
        if let Some(admit) = admit {
            hold.admission = admit.enter(call).await?;
        }
        let instance = Self::instance_for(&mut hold, call).await?;
        hold.pool.lock().slots.calls.begin();
        hold.record = Some(CallRecord::new());
        Ok(Lease { instance, hold })
    }

    /// A lease for asking an instance for its methods, schema or configuration, outside of any call.
    pub(crate) async fn lease_for_question(self: &Arc<Self>) -> Result<Lease<'_, F>> {
        self.queue.wait_for(1).await?;
        let mut hold = Hold::new(PoolRef::Borrowed(self));
        let instance = self.in_time(Self::fit_instance(&mut hold, None)).await?;
        Ok(Lease { instance, hold })
    }

    /// An instance for a call, under its deadline.
    async fn instance_for(hold: &mut Hold<'_, F>, call: &CallHandle) -> Result<Arc<F::Instance>> {
        let pool = Arc::clone(&hold.pool);
        let found = call.unless_interrupted(Self::fit_instance(hold, Some(call))).await;
        found.unwrap_or_else(|error| Err(pool.waited(error)))
    }

    /// The error of a call that was still waiting for an instance; adds what it waited for.
    fn waited(&self, error: PluginError) -> PluginError {
        let starting = self.lock().slots.starting() > 0;
        match self.factory.capacity().and_then(|capacity| capacity.shortage()) {
            Some(shortage) if starting && error.code() == ErrorCode::Timeout => {
                let message = format!("{}; it waited for {shortage}", error.message());
                PluginError::timeout(message).with_help(CAPACITY_HELP)
            }
            _ => error,
        }
    }

    /// Waits for an instance outside of any call. The time is limited only where plugins share the engine's room, which others may
    /// have taken.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(capacity) = self.factory.capacity() else { return work.await };
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            () = sleep(MAX_WAIT) => {
                let shortage = capacity.shortage().unwrap_or_else(|| "an instance that was starting".to_owned());
                let message = format!("the plugin had no instance after {} s; it waited for {shortage}", MAX_WAIT.as_secs());
                Err(PluginError::timeout(message).with_help(CAPACITY_HELP))
            }
        }
    }

    /// GPUs for an instance that no call waits for.
    async fn placement_in_time(&self, id: u64) -> Result<Placement> {
        let (waits, reason) = watch::channel(String::new());
        let placed = place(self.factory(), id, self.weak_self.clone(), waits);
        tokio::time::timeout(MAX_WAIT, placed).await.unwrap_or_else(|_| {
            let message = format!("the plugin had no GPU after {} s: it {}", MAX_WAIT.as_secs(), *reason.borrow());
            Err(PluginError::timeout(message).with_help("unload a plugin that uses the GPU, or try again later"))
        })
    }

    /// An instance that can take the call.
    async fn fit_instance(hold: &mut Hold<'_, F>, call: Option<&CallHandle>) -> Result<Arc<F::Instance>> {
        for _ in 0..UNFIT {
            let instance = Self::next_instance(hold, call).await?;
            if instance.is_fit() {
                return Ok(instance);
            }
            hold.pool.leave(hold.slot.take(), None, 0);
        }
        // So many unfit ones have a common cause. The call runs on the next and gives the real error.
        Self::next_instance(hold, call).await
    }

    /// A free instance. If there is none, a new one is started, and the call takes whichever comes first: the new one, or one that
    /// another call gives back.
    async fn next_instance(hold: &mut Hold<'_, F>, call: Option<&CallHandle>) -> Result<Arc<F::Instance>> {
        let pool = &*hold.pool;
        let _looking = Looking::new(&pool.looking);
        let (mut started, waits) = loop {
            // Listens before it looks, so that no change in between is missed.
            let changed = pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let (dead, next) = {
                let slots = &mut pool.lock_open()?.slots;
                (slots.remove_dead(now), slots.next(now, |id, config, waits| pool.start(id, config, waits)))
            };
            // Without the lock.
            drop(dead);
            match next {
                Next::Take(id, instance) => {
                    hold.slot = Some(id);
                    return Ok(instance);
                }
                Next::Await(id, started, waits) => {
                    hold.slot = Some(id);
                    break (started, waits);
                }
                Next::Later(then) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(then) => {}
                },
                Next::Wait => changed.await,
                Next::Refused(error) => return Err(error),
            }
        };
        let mut told = call.map(|call| StartProgress::new(call, waits));
        // If another instance becomes free first, the call takes that, and the new one is for the next call.
        loop {
            let changed = pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let free = pool.lock_open()?.slots.take();
            if let Some((id, instance)) = free {
                if let Some(starting) = hold.slot.replace(id) {
                    // While the engine has no room, the start is dropped and not kept for the next call.
                    if pool.factory.capacity().is_none_or(|capacity| capacity.shortage().is_none()) {
                        pool.lock().slots.keep(starting, |started| {
                            // The slot holds the handle: removing the slot aborts the task.
                            AbortOnDrop(tokio::spawn(async move { drop(started.await) }).abort_handle())
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
                () = StartProgress::tell(&mut told) => {}
            }
        }
    }

    /// Makes an instance for a slot, with the configuration in force. Dropping the future leaves nothing behind.
    fn start(
        self: &Arc<Self>,
        id: u64,
        config: Option<Arc<Value>>,
        waits: watch::Sender<String>,
    ) -> Started<F::Instance> {
        let (factory, pool) = (Arc::clone(&self.factory), Arc::downgrade(self));
        let work = async move {
            let placement = place(&*factory, id, pool.clone(), waits).await;
            let (begun, is_placed) = (Instant::now(), placement.is_ok());
            let made = match placement {
                Ok(placement) => make(&*factory, placement, config.as_deref()).await,
                Err(error) => Err(error),
            };
            match pool.upgrade() {
                Some(pool) => pool.started(id, Some(begun.elapsed()), is_placed, made),
                None => made,
            }
        };
        work.boxed().shared()
    }

    /// Lets the instance of this slot go on after it has released its memory; or makes another, if it was placed elsewhere or has ended.
    fn resume(
        self: &Arc<Self>,
        id: u64,
        config: Option<Arc<Value>>,
        waits: watch::Sender<String>,
    ) -> Started<F::Instance> {
        let (factory, weak) = (Arc::clone(&self.factory), Arc::downgrade(self));
        let work = async move {
            let gone = || PluginError::unavailable("the plugin was unloaded while it started");
            let mut request = request(&*factory, id, weak.clone(), waits.clone()).ok_or_else(gone)?;
            request.1.resumes = true;
            let placed = request.0.devices.place(request.1).await;
            let released = weak.upgrade().ok_or_else(gone)?.lock().slots.take_released(id);
            let placement = match placed {
                Ok(Placed::Again) => match released.filter(|released| released.is_alive()) {
                    Some(released) => return weak.upgrade().ok_or_else(gone)?.started(id, None, true, Ok(released)),
                    // It has ended meanwhile, and its placement with it.
                    None => place(&*factory, id, weak.clone(), waits).await,
                },
                Ok(Placed::New(placement)) => {
                    released.into_iter().for_each(close_later);
                    Ok(placement)
                }
                Err(error) => {
                    released.into_iter().for_each(close_later);
                    Err(error)
                }
            };
            let (begun, is_placed) = (Instant::now(), placement.is_ok());
            let made = match placement {
                Ok(placement) => make(&*factory, placement, config.as_deref()).await,
                Err(error) => Err(error),
            };
            weak.upgrade().ok_or_else(gone)?.started(id, Some(begun.elapsed()), is_placed, made)
        };
        work.boxed().shared()
    }

    fn started(
        self: &Arc<Self>,
        id: u64,
        start: Option<Duration>,
        is_placed: bool,
        made: Result<Arc<F::Instance>>,
    ) -> Result<Arc<F::Instance>> {
        let now = Instant::now();
        let settled = match made {
            Ok(instance) if self.lock().slots.ready(id, &instance, start, now) => Ok(instance),
            Ok(_) => Err(PluginError::unavailable("the plugin was unloaded while it started")),
            Err(error) => {
                let mut state = self.lock();
                let failed = state.slots.remove(id);
                if let Some(slot) = &failed
                    && is_placed
                    && self.factory.is_crash(&error)
                {
                    state.slots.crashed(slot.generation, error.clone(), now);
                }
                drop(state);
                Err(error)
            }
        };
        self.changed.notify_waiters();
        self.watch();
        settled
    }

    /// A call gives back its instance and its places, and records how it ended.
    pub(crate) fn leave(self: &Arc<Self>, slot: Option<u64>, record: Option<&CallRecord>, places: usize) {
        let now = record.and_then(CallRecord::ended).unwrap_or_else(Instant::now);
        let (freed, wants_watch) = {
            let mut state = self.lock();
            if let Some(record) = record {
                state.slots.calls.end(record, now);
            }
            let is_needed_here = state.has_waiting() || self.looking.load(Ordering::Relaxed) > 0;
            let demand = match self.factory.capacity() {
                Some(capacity) if capacity.is_needed() => {
                    if is_needed_here {
                        Demand::AfterTurn
                    } else {
                        Demand::Now
                    }
                }
                _ => Demand::None,
            };
            let freed = slot.map_or(Freed::Nothing, |id| state.slots.give_back(id, now, demand));
            state.give(places);
            (freed, state.slots.wants_watch())
        };
        match freed {
            Freed::Nothing if self.looking.load(Ordering::Relaxed) == 0 => {}
            Freed::Nothing => self.changed.notify_one(),
            Freed::Start(slot) => {
                slot.instance().map(Arc::clone).into_iter().for_each(close_later);
                drop(slot);
                self.changed.notify_waiters();
            }
            Freed::Instance(instance) => {
                self.changed.notify_waiters();
                close_later(instance);
            }
            Freed::ForOthers(instance) => {
                if let Some(capacity) = self.factory.capacity() {
                    capacity.note_leaving();
                }
                self.changed.notify_waiters();
                close_later(instance);
            }
        }
        if slot.is_some()
            && let Some(access) = self.factory.devices()
            && access.devices.is_needed()
        {
            access.devices.note_idle();
        }
        if wants_watch {
            self.begin_watch();
        }
    }

    /// Starts the task that stops idle instances, if there are some to stop and the task is not running yet.
    fn watch(self: &Arc<Self>) {
        if let Some(capacity) = self.factory.capacity() {
            capacity.note_idle();
        }
        if self.lock().slots.wants_watch() {
            self.begin_watch();
        }
    }

    fn begin_watch(self: &Arc<Self>) {
        // Without a tokio runtime nothing is started; the next call that ends inside one starts it.
        match (Handle::try_current(), self.limits.idle) {
            (Ok(runtime), Some(policy)) => {
                let task = runtime.spawn(idle::watch(Arc::downgrade(self), policy));
                self.watcher().replace(AbortOnDrop(task.abort_handle()));
            }
            _ => self.lock().slots.unwatch(),
        }
    }

    fn watcher(&self) -> MutexGuard<'_, Option<AbortOnDrop>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes instances out of use that have been idle for too long, and returns when to look again.
    pub(crate) fn take_idle(&self, policy: Idle) -> (Numbered<F::Instance>, Option<Instant>) {
        self.lock().slots.idle(policy, Instant::now())
    }

    /// Removes an instance that was taken out of use and has ended.
    pub(crate) fn forget(&self, id: u64) {
        let slot = self.lock().slots.remove(id);
        // Without the lock.
        drop(slot);
        self.changed.notify_waiters();
    }

    /// Lets an instance that was taken out of use release its memory. If it fails or takes too long, it ends.
    async fn released(self: Arc<Self>, id: u64, instance: Arc<F::Instance>) {
        let released = tokio::time::timeout(RELEASE_TIME, instance.release()).await;
        let config = self.lock().slots.config.clone();
        let stays = matches!(released, Ok(Ok(())))
            && instance.is_alive()
            && self.lock().slots.released(id, Arc::clone(&instance), |waits| self.resume(id, config, waits));
        match stays {
            true => self.changed.notify_waiters(),
            false => self.close_and_forget(id, instance),
        }
        if let Some(access) = self.factory.devices() {
            access.devices.note_idle();
        }
    }

    /// Closes an instance that was taken out of use, in the background.
    fn close_and_forget(&self, id: u64, instance: Arc<F::Instance>) {
        let pool = self.weak_self.clone();
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    instance.close().await;
                    drop(instance);
                    if let Some(pool) = pool.upgrade() {
                        pool.forget(id);
                    }
                });
            }
            Err(_) => self.forget(id),
        }
    }

    /// Applies a configuration to every instance or to none. Waits until no call runs.
    pub(crate) async fn configure(self: &Arc<Self>, config: Value) -> Result<()> {
        let _all = self.drained().await?;
        self.until_closed().await;
        let (old, instances) = {
            let mut state = self.lock();
            let slots = &mut state.slots;
            // A start that goes on without a call uses the previous configuration, and so does an instance that has released its memory.
            let dropped = (slots.remove_dead(Instant::now()), slots.drop_starts());
            let found = (slots.config.clone(), slots.instances());
            drop(state);
            let (_, starts) = &dropped;
            starts.iter().filter_map(|slot| slot.instance().map(Arc::clone)).for_each(close_later);
            drop(dropped);
            found
        };
        if instances.is_empty() {
            // Starts one with the new configuration now, also while the circuit is open: a new configuration may have fixed the plugin.
            let id = self.lock().slots.new_id();
            let placement = self.placement_in_time(id).await?;
            let (instance, start) = self
                .in_time(async {
                    let begun = Instant::now();
                    let instance = make(self.factory(), placement, Some(&config)).await?;
                    Ok((instance, begun.elapsed()))
                })
                .await?;
            let mut state = self.lock_open()?;
            state.slots.restarts.forget();
            state.slots.add(id, instance, start, Instant::now());
        }
        let mut reconfigured = Reconfigured { pool: self, instances: Vec::new() };
        for (id, instance) in instances {
            reconfigured.instances.push((id, Arc::clone(&instance)));
            if let Err(error) = instance.initialize(&config).await {
                // The instance that failed should have kept the old configuration. It is given it again, to be safe.
                self.roll_back(&reconfigured.instances, old.as_deref()).await;
                reconfigured.instances.clear();
                return Err(error);
            }
        }
        reconfigured.instances.clear();
        drop(reconfigured);
        self.lock().slots.config = Some(Arc::new(config));
        self.watch();
        Ok(())
    }

    /// Waits until the idle instances that are being stopped have ended.
    async fn until_closed(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.lock().slots.is_closing() {
                return;
            }
            changed.await;
        }
    }

    /// Restores the old configuration. An instance that refuses it is ended, and the next call makes another.
    async fn roll_back(&self, instances: &[(u64, Arc<F::Instance>)], old: Option<&Value>) {
        for (id, instance) in instances {
            let restored = match old {
                Some(old) => instance.initialize(old).await.is_ok(),
                None => false,
            };
            if !restored {
                drop(self.lock().slots.remove(*id));
                instance.close().await;
            }
        }
    }

    /// Waits until no call runs. Calls made meanwhile wait until the returned value is dropped.
    pub(crate) async fn drained(&self) -> Result<Drained<'_, F>> {
        self.queue.wait_for(Self::places_of(self.limits)).await?;
        Ok(Drained(self))
    }

    /// Refuses further calls and closes every instance, even those that still run a call.
    pub(crate) async fn close(&self) {
        let watcher = self.watcher().take();
        drop(watcher);
        let slots = {
            let mut state = self.lock();
            state.close();
            state.slots.closed = true;
            state.slots.drain()
        };
        self.changed.notify_waiters();
        let instances: Vec<_> = slots.iter().filter_map(|slot| slot.instance().map(Arc::clone)).collect();
        drop(slots);
        join_all(instances.iter().map(|instance| instance.close())).await;
    }

    /// The position of a call that waits for a place.
    pub(crate) fn position(&self, call: CallId) -> Option<usize> {
        self.queue.position(call)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().slots.closed
    }

    pub(crate) async fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        stats.waiting = self.queue.waiting();
        let known = self.lock().slots.fill(&mut stats, Instant::now());
        let stats_of = |known: Known<F::Instance>| {
            let mut stats = known.instance.stats();
            stats.start_s = known.start.as_secs_f64();
            stats.idle_s = known.idle.map(|idle| idle.as_secs_f64());
            stats
        };
        // Without the lock, and on a blocking thread: measuring processes takes time.
        let measured = tokio::task::spawn_blocking(move || known.into_iter().map(stats_of).collect()).await;
        stats.instances = measured.map_err(|error| {
            PluginError::internal(format!("the statistics of its instances could not be measured: {error}"))
        })?;
        Ok(stats)
    }
}

impl<F: InstanceFactory> IdleInstances for Pool<F> {
    fn idle_since(&self) -> Option<Instant> {
        self.lock().slots.idle_since()
    }

    fn stop_idle(&self) -> bool {
        let taken = self.lock().slots.take_idle();
        let Some((id, instance)) = taken else { return false };
        self.close_and_forget(id, instance);
        true
    }
}

impl<F: InstanceFactory> PlacedInstances for Pool<F> {
    fn use_of(&self, instance: u64) -> Option<InstanceUse> {
        let mut state = self.lock();
        let is_wanted = state.has_waiting() || self.looking.load(Ordering::Relaxed) > 0;
        state.slots.use_of(instance, is_wanted)
    }

    fn pids_of(&self, instance: u64) -> Vec<u32> {
        let found = self.lock().slots.instance(instance);
        found.map_or_else(Vec::new, |instance| instance.stats().pids)
    }

    fn release(&self, instance: u64) {
        let released = self.lock().slots.begin_release(instance);
        match (released, Handle::try_current(), self.weak_self.upgrade()) {
            (Some(released), Ok(runtime), Some(pool)) => {
                runtime.spawn(async move { pool.released(instance, released).await });
            }
            (Some(released), ..) => self.close_and_forget(instance, released),
            (None, ..) => self.end(instance),
        }
    }

    fn end(&self, instance: u64) {
        let ended = self.lock().slots.end(instance);
        match ended {
            Some((ended, true)) => self.close_and_forget(instance, ended),
            // A call waits in its slot for another.
            Some((ended, false)) => close_later(ended),
            None => {}
        }
    }
}

/// Holds all places of a pool until it is dropped, so that no call runs.
pub(crate) struct Drained<'a, F: InstanceFactory>(&'a Pool<F>);

impl<F: InstanceFactory> Drop for Drained<'_, F> {
    fn drop(&mut self) {
        self.0.lock().give(Pool::<F>::places_of(self.0.limits));
    }
}

/// Counts a call that has a place and looks for an instance, while it lives.
struct Looking<'a>(&'a AtomicUsize);

impl<'a> Looking<'a> {
    /// Must be made before the call looks. Otherwise a call that returns an instance in between wakes nobody.
    fn new(looking: &'a AtomicUsize) -> Self {
        looking.fetch_add(1, Ordering::Relaxed);
        Self(looking)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the GPUs of an instance, if it needs any.
async fn place<F: InstanceFactory>(
    factory: &F,
    instance: u64,
    pool: Weak<Pool<F>>,
    waits: watch::Sender<String>,
) -> Result<Placement> {
    let Some((access, request)) = request(factory, instance, pool, waits) else { return Ok(Placement::default()) };
    match access.devices.place(request).await? {
        Placed::New(placement) => Ok(placement),
        Placed::Again => Err(PluginError::internal("a new instance was placed as one that goes on")),
    }
}

/// The request for the GPUs of an instance, if it needs any.
fn request<F: InstanceFactory>(
    factory: &F,
    instance: u64,
    pool: Weak<Pool<F>>,
    waits: watch::Sender<String>,
) -> Option<(DeviceAccess, DeviceRequest)> {
    let access = factory.devices()?.clone();
    let (plugin, need) = (factory.name().into(), access.need);
    Some((access, DeviceRequest { plugin, need, pool, instance, resumes: false, waits }))
}

/// Makes an instance, and configures it if there is a configuration.
async fn make<F: InstanceFactory>(
    factory: &F,
    placement: Placement,
    config: Option<&Value>,
) -> Result<Arc<F::Instance>> {
    let instance = Arc::new(factory.create(placement).await?);
    if let Some(config) = config
        && let Err(error) = instance.initialize(config).await
    {
        instance.close().await;
        return Err(error);
    }
    Ok(instance)
}

/// Instances that a change of configuration has reached. If the change is interrupted, these are closed, since nobody knows which
/// configuration they have. The next call starts new ones with the old configuration.
struct Reconfigured<'a, F: InstanceFactory> {
    pool: &'a Pool<F>,
    instances: Numbered<F::Instance>,
}

impl<F: InstanceFactory> Drop for Reconfigured<'_, F> {
    fn drop(&mut self) {
        for (id, instance) in self.instances.drain(..) {
            drop(self.pool.lock().slots.remove(id));
            close_later(instance);
        }
    }
}

/// Closes an instance in the background. Without a tokio runtime it is only dropped.
fn close_later<I: Instance>(instance: Arc<I>) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move { instance.close().await });
    }
}
