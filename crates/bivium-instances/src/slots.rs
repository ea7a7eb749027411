//! [`Slots`]: the instances of a pool and those that are being started, and which calls use them, under one short lock.

use std::sync::Arc;
use std::time::Duration;

use bivium_interface::{ErrorCode, PluginError, Stats};
use futures_util::future::{BoxFuture, Shared};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::capacity::TURN;
use crate::devices::InstanceUse;
use crate::instance::Instance;
use crate::limits::{Idle, PoolLimits};
use crate::recent::Recent;
use crate::restart::{Restarts, StartDecision};

/// An instance that is being made, shared by the calls that wait for it and dropped with the last of them.
pub(crate) type Started<I> = Shared<BoxFuture<'static, bivium_interface::Result<Arc<I>>>>;

/// Instances, each with the id of its slot.
pub(crate) type Numbered<I> = Vec<(u64, Arc<I>)>;

/// What every call writes comes first: see [`QueueState`](crate::queue::QueueState).
#[repr(C)]
pub(crate) struct Slots<I: Instance> {
    pub(crate) calls: Calls,
    limits: PoolLimits,
    list: Vec<Slot<I>>,
    next_id: u64,
    pub(crate) restarts: Restarts,
    /// None until the first configuration.
    pub(crate) config: Option<Arc<Value>>,
    pub(crate) closed: bool,
    /// Whether the task that stops idle instances runs.
    watched: bool,
    replaced: u64,
    idle_stops: u64,
    recent: Recent,
}

/// Calls that got an instance, and how they ended.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Calls {
    begun: u64,
    ended: u64,
    busy: Duration,
    failed: u64,
    cancelled: u64,
}

impl Calls {
    pub(crate) fn begin(&mut self) {
        self.begun += 1;
    }

    /// Takes a begun call back, since it did not run on that instance after all.
    pub(crate) fn withdraw(&mut self) {
        self.begun -= 1;
    }

    pub(crate) fn end(&mut self, record: &CallRecord, now: Instant) {
        self.ended += 1;
        self.busy += now.saturating_duration_since(record.begun);
        match record.ended {
            Some((_, Ok(()))) => {}
            None | Some((_, Err(ErrorCode::Cancelled))) => self.cancelled += 1,
            Some((_, Err(_))) => self.failed += 1,
        }
    }
}

/// Times and outcome of a call that got an instance.
pub(crate) struct CallRecord {
    begun: Instant,
    /// None if the call is dropped in the middle, which counts as cancelled.
    ended: Option<(Instant, Result<(), ErrorCode>)>,
}

impl CallRecord {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), ended: None }
    }

    pub(crate) fn end(&mut self, outcome: Result<(), ErrorCode>) {
        self.ended = Some((Instant::now(), outcome));
    }

    pub(crate) fn ended(&self) -> Option<Instant> {
        self.ended.as_ref().map(|(then, _)| *then)
    }
}

/// One instance. No two slots lie in one line of the processor's cache, since different processors write them.
#[repr(align(64))]
pub(crate) struct Slot<I: Instance> {
    pub(crate) id: u64,
    /// See [`Restarts::generation`].
    pub(crate) generation: u64,
    /// How many calls use it or wait for it.
    held: u32,
    /// Whether it gets no further call and ends after those that it has.
    ends: bool,
    /// When its start began; after the start, when it was last used.
    since: Instant,
    start: Duration,
    /// When it was made.
    made: Instant,
    phase: Phase<I>,
    /// The instance that has released its memory, while its slot is starting: it goes on if it is placed again.
    released: Option<Arc<I>>,
}

enum Phase<I: Instance> {
    /// `task` goes on with the start when no call waits for it any more.
    Starting {
        started: Started<I>,
        task: Option<AbortOnDrop>,
        waits: watch::Receiver<String>,
    },
    Ready(Arc<I>),
    /// Being stopped because it was idle. It counts as one of the pool's until it has ended.
    Closing(Arc<I>),
}

/// A task that ends when its handle is dropped.
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a call that needs an instance should do.
pub(crate) enum Next<I: Instance> {
    Take(u64, Arc<I>),
    /// Wait for an instance that is being started; the call is counted in its slot.
    /// What the start waits for can be watched.
    Await(u64, Started<I>, watch::Receiver<String>),
    /// Look again at that time, or when something has changed.
    Later(Instant),
    /// Look again when something has changed.
    Wait,
    Refused(PluginError),
}

/// What a call frees when it gives its slot back. It must be dropped or closed without the lock.
pub(crate) enum Freed<I: Instance> {
    Nothing,
    /// A start that no call waits for.
    Start(Slot<I>),
    Instance(Arc<I>),
    /// An instance that ends because other plugins need its capacity.
    ForOthers(Arc<I>),
}

/// Whether other plugins need the capacity of an instance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    None,
    /// They do, but calls of its own plugin wait for it too.
    AfterTurn,
    Now,
}

impl<I: Instance> Slots<I> {
    pub(crate) fn new(limits: PoolLimits) -> Self {
        Self {
            calls: Calls::default(),
            limits,
            list: Vec::new(),
            next_id: 0,
            restarts: Restarts::new(limits.restart),
            config: None,
            closed: false,
            watched: false,
            replaced: 0,
            idle_stops: 0,
            recent: Recent::default(),
        }
    }

    fn position(&mut self, id: u64) -> Option<usize> {
        // Nearly always the one that this thread took last.
        let recent = self.recent.of_this_thread().copied();
        let is_it = |at: &usize| self.list.get(*at).is_some_and(|slot| slot.id == id);
        recent.filter(is_it).or_else(|| self.list.iter().position(|slot| slot.id == id))
    }

    fn find(&mut self, id: u64) -> Option<&mut Slot<I>> {
        let at = self.position(id)?;
        self.list.get_mut(at)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Slot<I>> {
        let at = self.position(id)?;
        Some(self.list.remove(at))
    }

    /// A live instance that can take another call: the one that this thread used last, if that is preferred; else the youngest, so
    /// that instances that are not needed stay idle.
    pub(crate) fn take(&mut self) -> Option<(u64, Arc<I>)> {
        let per_instance = self.limits.calls_per_instance;
        let recent = self.recent.of_this_thread();
        if self.limits.thread_affinity
            && let Some(at) = &recent
            && let Some(taken) = self.list.get_mut(**at).and_then(|slot| slot.take(per_instance))
        {
            return Some(taken);
        }
        let mut youngest_first = self.list.iter_mut().enumerate().rev();
        let (at, taken) = youngest_first.find_map(|(at, slot)| Some((at, slot.take(per_instance)?)))?;
        if let Some(recent) = recent {
            *recent = at;
        }
        Some(taken)
    }

    /// What a call should do now. Counts the call in a slot if there is one for it; `start` begins a start for a slot of that id if
    /// one is needed.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        start: impl FnOnce(u64, Option<Arc<Value>>, watch::Sender<String>) -> Started<I>,
    ) -> Next<I> {
        if let Some((id, instance)) = self.take() {
            return Next::Take(id, instance);
        }
        let per_instance = self.limits.calls_per_instance;
        for slot in self.list.iter_mut().filter(|slot| slot.held < per_instance) {
            if let Phase::Starting { started, waits, .. } = &slot.phase {
                slot.held += 1;
                return Next::Await(slot.id, started.clone(), waits.clone());
            }
        }
        // A dead instance is not counted, although its calls have not given it back yet.
        let counts = |slot: &&Slot<I>| match &slot.phase {
            Phase::Ready(instance) => instance.is_alive(),
            _ => true,
        };
        if self.list.iter().filter(counts).count() >= self.limits.instances as usize {
            return Next::Wait;
        }
        match self.restarts.may_start(now, self.starting() > 0) {
            StartDecision::Now => {
                let (tell, waits) = watch::channel(String::new());
                let id = self.new_id();
                let started = start(id, self.config.clone(), tell);
                let phase = Phase::Starting { started: started.clone(), task: None, waits: waits.clone() };
                let generation = self.restarts.generation();
                if let Some(recent) = self.recent.of_this_thread() {
                    *recent = self.list.len();
                }
                let start = Duration::ZERO;
                let (held, released) = (1, None);
                self.list.push(Slot {
                    id,
                    generation,
                    held,
                    ends: false,
                    since: now,
                    start,
                    made: now,
                    phase,
                    released,
                });
                Next::Await(id, started, waits)
            }
            StartDecision::At(then) => Next::Later(then),
            StartDecision::AfterTheOther => Next::Wait,
            // The live instances take the calls, one after another.
            StartDecision::Open(then) if self.list.iter().any(Slot::is_live) => Next::Later(then),
            StartDecision::Open(_) => Next::Refused(self.restarts.refusal(now)),
        }
    }

    /// The id for a slot that will be added.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Adds an instance that no call waits for.
    pub(crate) fn add(&mut self, id: u64, instance: Arc<I>, start: Duration, now: Instant) {
        self.list.push(Slot {
            id,
            generation: self.restarts.generation(),
            held: 0,
            ends: false,
            since: now,
            start,
            made: now,
            phase: Phase::Ready(instance),
            released: None,
        });
    }

    /// The start of that slot has made its instance. False if the slot is gone.
    /// `start` is how long it took; `None` for an instance that goes on.
    pub(crate) fn ready(&mut self, id: u64, instance: &Arc<I>, start: Option<Duration>, now: Instant) -> bool {
        match self.find(id) {
            Some(slot) => {
                slot.start = start.unwrap_or(slot.start);
                slot.since = now;
                slot.made = now;
                slot.phase = Phase::Ready(Arc::clone(instance));
                true
            }
            None => false,
        }
    }

    /// Lets a task go on with a start whose call has found another instance.
    pub(crate) fn keep(&mut self, id: u64, drive: impl FnOnce(Started<I>) -> AbortOnDrop) {
        if let Some(slot) = self.find(id)
            && let Phase::Starting { started, task: task @ None, .. } = &mut slot.phase
        {
            *task = Some(drive(started.clone()));
        }
    }

    /// A call gives its slot back. If other plugins need capacity, an instance without calls ends for them.
    pub(crate) fn give_back(&mut self, id: u64, now: Instant, demand: Demand) -> Freed<I> {
        let (single_use, closed) = (self.limits.single_use, self.closed);
        let Some(slot) = self.find(id) else { return Freed::Nothing };
        slot.held = slot.held.saturating_sub(1);
        let (generation, unheld) = (slot.generation, slot.held == 0);
        match &slot.phase {
            Phase::Starting { task: None, .. } if unheld => self.remove(id).map_or(Freed::Nothing, Freed::Start),
            Phase::Ready(instance) => {
                let alive = instance.is_alive();
                let turn_over = now.saturating_duration_since(slot.made) >= TURN;
                let ends_for_others =
                    slot.ends || matches!(demand, Demand::Now) || (matches!(demand, Demand::AfterTurn) && turn_over);
                let stays = !unheld || (alive && !single_use && !closed && !ends_for_others);
                let ended = (!stays).then(|| Arc::clone(instance));
                slot.since = now;
                if alive {
                    self.restarts.lives(generation);
                }
                let Some(instance) = ended else { return Freed::Nothing };
                self.remove(id);
                if !alive {
                    self.died(&instance, generation, now);
                    return Freed::Instance(instance);
                }
                if ends_for_others {
                    self.idle_stops += 1;
                    return Freed::ForOthers(instance);
                }
                Freed::Instance(instance)
            }
            _ => Freed::Nothing,
        }
    }

    /// Removes a live instance that is going to be closed. False if there is none.
    pub(crate) fn remove_live(&mut self, id: u64) -> bool {
        let Some(slot) = self.find(id).filter(|slot| slot.is_live()) else { return false };
        let generation = slot.generation;
        self.restarts.lives(generation);
        self.remove(id).is_some()
    }

    /// Removes instances that died while no call used them.
    pub(crate) fn remove_dead(&mut self, now: Instant) -> Vec<Slot<I>> {
        let dead: Vec<_> = self.list.extract_if(.., |slot| slot.held == 0 && slot.is_dead()).collect();
        for slot in &dead {
            if let Phase::Ready(instance) = &slot.phase {
                self.died(instance, slot.generation, now);
            }
        }
        dead
    }

    fn died(&mut self, instance: &I, generation: u64, now: Instant) {
        self.replaced += 1;
        if let Some(error) = instance.crash() {
            self.crashed(generation, error, now);
        }
    }

    /// Notes a crash.
    pub(crate) fn crashed(&mut self, generation: u64, error: PluginError, now: Instant) {
        // Without random numbers: the middle.
        let chance = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        self.restarts.crashed(generation, error, now, chance);
    }

    /// The instances that are ready, with their slots' ids.
    pub(crate) fn instances(&self) -> Numbered<I> {
        let in_use = |slot: &Slot<I>| match &slot.phase {
            Phase::Ready(instance) => Some((slot.id, Arc::clone(instance))),
            _ => None,
        };
        self.list.iter().filter_map(in_use).collect()
    }

    /// Whether an instance that was idle has not ended yet.
    pub(crate) fn is_closing(&self) -> bool {
        self.list.iter().any(|slot| matches!(slot.phase, Phase::Closing(_)))
    }

    /// Removes the starts that no call waits for.
    pub(crate) fn drop_starts(&mut self) -> Vec<Slot<I>> {
        self.list.extract_if(.., |slot| matches!(slot.phase, Phase::Starting { .. })).collect()
    }

    /// Removes everything.
    pub(crate) fn drain(&mut self) -> Vec<Slot<I>> {
        std::mem::take(&mut self.list)
    }

    /// Whether the task that stops idle instances should be started.
    pub(crate) fn wants_watch(&mut self) -> bool {
        let wants = !self.watched
            && !self.closed
            && self.limits.idle.is_some_and(|idle| self.list.len() > idle.keep as usize)
            && self.list.iter().any(|slot| slot.held == 0);
        self.watched |= wants;
        wants
    }

    /// The task that stops idle instances was not started after all.
    pub(crate) fn unwatch(&mut self) {
        self.watched = false;
    }

    /// Takes instances out of use that have been idle for too long, and returns when to look again; if there is nothing left to
    /// watch, the task should end.
    pub(crate) fn idle(&mut self, policy: Idle, now: Instant) -> (Numbered<I>, Option<Instant>) {
        let mut due = Vec::new();
        loop {
            let live = self.list.iter().filter(|slot| slot.is_live()).count();
            let idle = self.list.iter_mut().filter(|slot| slot.held == 0 && slot.is_live());
            let next = idle.min_by_key(|slot| slot.since).filter(|_| live > policy.keep as usize);
            let end = next.as_ref().map(|slot| slot.since + policy.after);
            match next {
                Some(Slot { id, phase, .. }) if end.is_some_and(|end| end <= now) => {
                    if let Phase::Ready(instance) = phase {
                        let instance = Arc::clone(instance);
                        *phase = Phase::Closing(Arc::clone(&instance));
                        due.push((*id, instance));
                        self.idle_stops += 1;
                    }
                }
                _ => {
                    self.watched = end.is_some() || !due.is_empty();
                    return (due, end);
                }
            }
        }
    }

    /// What the instance of a slot does. `is_wanted` says whether calls wait.
    pub(crate) fn use_of(&mut self, id: u64, is_wanted: bool) -> Option<InstanceUse> {
        let slot = self.find(id)?;
        Some(match &slot.phase {
            Phase::Starting { .. } if slot.released.is_some() => InstanceUse::Released,
            Phase::Starting { .. } => InstanceUse::Starting,
            Phase::Ready(instance) if !slot.ends && instance.is_alive() => InstanceUse::Ready {
                since: slot.made,
                start: slot.start,
                used: slot.since,
                running: slot.held,
                is_wanted,
                can_release: instance.can_release(),
            },
            Phase::Ready(_) | Phase::Closing(_) => InstanceUse::Ending,
        })
    }

    /// The instance of a slot.
    pub(crate) fn instance(&mut self, id: u64) -> Option<Arc<I>> {
        self.find(id)?.instance().map(Arc::clone)
    }

    /// Lets an instance end: returns it if it is idle, and whether its slot ends with it; otherwise it ends after its calls.
    pub(crate) fn end(&mut self, id: u64) -> Option<(Arc<I>, bool)> {
        let slot = self.find(id)?;
        let instance = match (&slot.phase, &slot.released) {
            // A call waits until it is placed again: a new instance will be made for it.
            (Phase::Starting { .. }, Some(_)) if slot.held > 0 => {
                self.idle_stops += 1;
                return Some((self.find(id)?.released.take()?, false));
            }
            (Phase::Starting { .. }, Some(released)) => Arc::clone(released),
            (Phase::Ready(_), _) if slot.held > 0 => {
                slot.ends = true;
                return None;
            }
            (Phase::Ready(instance), _) => Arc::clone(instance),
            _ => return None,
        };
        slot.released = None;
        slot.phase = Phase::Closing(Arc::clone(&instance));
        self.idle_stops += 1;
        Some((instance, true))
    }

    /// Takes an idle instance out of use that can release its memory.
    pub(crate) fn begin_release(&mut self, id: u64) -> Option<Arc<I>> {
        let slot = self.find(id).filter(|slot| slot.held == 0 && slot.is_live())?;
        let instance = slot.instance().filter(|instance| instance.can_release()).map(Arc::clone)?;
        slot.phase = Phase::Closing(Arc::clone(&instance));
        Some(instance)
    }

    /// An instance has released its memory. The next call that takes the slot waits for `resume`. False if the slot is gone.
    pub(crate) fn released(
        &mut self,
        id: u64,
        instance: Arc<I>,
        resume: impl FnOnce(watch::Sender<String>) -> Started<I>,
    ) -> bool {
        let Some(slot) = self.find(id) else { return false };
        let (tell, waits) = watch::channel(String::new());
        slot.phase = Phase::Starting { started: resume(tell), task: None, waits };
        slot.released = Some(instance);
        true
    }

    /// The instance of this slot that has released its memory.
    pub(crate) fn take_released(&mut self, id: u64) -> Option<Arc<I>> {
        self.find(id)?.released.take()
    }

    fn longest_idle(&mut self) -> Option<&mut Slot<I>> {
        self.list.iter_mut().filter(|slot| slot.held == 0 && slot.is_live()).min_by_key(|slot| slot.since)
    }

    /// Since when the longest idle instance has been idle.
    pub(crate) fn idle_since(&mut self) -> Option<Instant> {
        self.longest_idle().map(|slot| slot.since)
    }

    /// Takes that instance out of use.
    pub(crate) fn take_idle(&mut self) -> Option<(u64, Arc<I>)> {
        let slot = self.longest_idle()?;
        let instance = Arc::clone(slot.instance()?);
        slot.phase = Phase::Closing(Arc::clone(&instance));
        let taken = (slot.id, instance);
        self.idle_stops += 1;
        Some(taken)
    }

    pub(crate) fn starting(&self) -> usize {
        let starts = |slot: &&Slot<I>| {
            matches!(slot.phase, Phase::Starting { .. }) && (slot.held > 0 || slot.released.is_none())
        };
        self.list.iter().filter(starts).count()
    }

    /// Adds the pool's own figures to a plugin's statistics, and returns the instances, which are asked without the lock.
    pub(crate) fn fill(&self, stats: &mut Stats, now: Instant) -> Vec<Known<I>> {
        stats.calls = self.calls.ended;
        stats.failed = self.calls.failed;
        stats.cancelled = self.calls.cancelled;
        stats.running = self.calls.begun - self.calls.ended;
        stats.busy_s = self.calls.busy.as_secs_f64();
        stats.restarts = self.replaced;
        stats.crashes = self.restarts.crashes();
        stats.idle_stops = self.idle_stops;
        stats.starting = self.starting() as u64;
        (stats.circuit, stats.next_try_s) = self.restarts.circuit(now);
        stats.last_crash = self.restarts.last_crash(now);
        let known = |slot: &Slot<I>| {
            let idle = now.saturating_duration_since(slot.since);
            let instance = Arc::clone(slot.instance()?);
            Some(Known { instance, start: slot.start, idle: (slot.held == 0).then_some(idle) })
        };
        self.list.iter().filter_map(known).collect()
    }
}

/// What the pool knows of an instance.
pub(crate) struct Known<I> {
    pub(crate) instance: Arc<I>,
    pub(crate) start: Duration,
    /// None while a call uses it.
    pub(crate) idle: Option<Duration>,
}

impl<I: Instance> Slot<I> {
    fn take(&mut self, per_instance: u32) -> Option<(u64, Arc<I>)> {
        match &self.phase {
            Phase::Ready(instance) if self.held < per_instance && !self.ends && instance.is_alive() => {
                self.held += 1;
                Some((self.id, Arc::clone(instance)))
            }
            _ => None,
        }
    }

    pub(crate) fn instance(&self) -> Option<&Arc<I>> {
        match &self.phase {
            Phase::Starting { .. } => self.released.as_ref(),
            Phase::Ready(instance) | Phase::Closing(instance) => Some(instance),
        }
    }

    fn is_live(&self) -> bool {
        matches!(&self.phase, Phase::Ready(instance) if instance.is_alive())
    }

    fn is_dead(&self) -> bool {
        matches!(&self.phase, Phase::Ready(instance) if !instance.is_alive())
    }
}
