//! What a pool has: its instances and those being started, who holds which, under one short lock.

use std::sync::Arc;
use std::time::Duration;

use bivium_interface::{ErrorCode, PluginError, Stats};
use futures_util::future::{BoxFuture, Shared};
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::recent::Recent;
use crate::restart::{Leave, Restarts};
use crate::room::TURN;
use crate::{Idle, Instance, PoolLimits};

/// An instance on its way, shared by the calls that wait for it: dropped with the last of them.
pub(crate) type Started<I> = Shared<BoxFuture<'static, bivium_interface::Result<Arc<I>>>>;

/// Instances, each with the id of its slot.
pub(crate) type Numbered<I> = Vec<(u64, Arc<I>)>;

/// What every call writes comes first: see [`Line`](crate::queue::Line).
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
    /// Whether a task looks after idle instances.
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

    /// The call has not begun in that instance after all.
    pub(crate) fn withdraw(&mut self) {
        self.begun -= 1;
    }

    pub(crate) fn end(&mut self, work: &Work, now: Instant) {
        self.ended += 1;
        self.busy += now.saturating_duration_since(work.begun);
        match work.ended {
            Some((_, Ok(()))) => {}
            None | Some((_, Err(ErrorCode::Cancelled))) => self.cancelled += 1,
            Some((_, Err(_))) => self.failed += 1,
        }
    }
}

/// A call that got an instance.
pub(crate) struct Work {
    begun: Instant,
    /// None where it is dropped in the middle, and so cancelled.
    ended: Option<(Instant, Result<(), ErrorCode>)>,
}

impl Work {
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

/// A place for one instance. No two lie in one line of a processor's cache: different processors write them.
#[repr(align(64))]
pub(crate) struct Slot<I: Instance> {
    pub(crate) id: u64,
    /// See [`Restarts::age`].
    pub(crate) age: u64,
    /// Calls that hold it or wait for it.
    held: u32,
    /// When its start began; once it has ended, when it was last used.
    since: Instant,
    start: Duration,
    /// When it was made.
    made: Instant,
    phase: Phase<I>,
}

enum Phase<I: Instance> {
    /// `driver` goes on with the start where no call waits for it any more.
    Starting {
        started: Started<I>,
        driver: Option<Driver>,
    },
    Ready(Arc<I>),
    /// Stopped since it was idle; it still counts as one of the pool's until it has ended.
    Closing(Arc<I>),
}

/// A task that ends when its handle is dropped.
pub(crate) struct Driver(pub(crate) AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a call that needs a place is to do.
pub(crate) enum Next<I: Instance> {
    Take(u64, Arc<I>),
    /// The call holds a place in an instance that is being started.
    Await(u64, Started<I>),
    /// Look again then, or when something has changed.
    Later(Instant),
    /// Look again when something has changed.
    Wait,
    Refused(PluginError),
}

/// What is left of a slot that was given back for good; to be dropped or closed without the lock.
pub(crate) enum Left<I: Instance> {
    Nothing,
    /// A start that nobody waits for.
    Start(Slot<I>),
    Instance(Arc<I>),
    /// The same, for others that want its room.
    ForOthers(Arc<I>),
}

/// Whether other plugins want the room of an instance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    No,
    /// They do, and calls of its own plugin wait for it too.
    AfterItsTurn,
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
        // Nearly always that which this thread took last.
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

    /// A live instance with room for a call: the one that this thread used last, where that counts; else of several the
    /// youngest, so that those that are not needed stay idle.
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

    /// What a call does that found no free instance. Takes a place for it where there is one to take; `start` begins
    /// a start where one is needed, for a slot of that id.
    pub(crate) fn next(&mut self, now: Instant, start: impl FnOnce(u64, Option<Arc<Value>>) -> Started<I>) -> Next<I> {
        if let Some((id, instance)) = self.take() {
            return Next::Take(id, instance);
        }
        let per_instance = self.limits.calls_per_instance;
        for slot in self.list.iter_mut().filter(|slot| slot.held < per_instance) {
            if let Phase::Starting { started, .. } = &slot.phase {
                slot.held += 1;
                return Next::Await(slot.id, started.clone());
            }
        }
        // One that died still has calls that let go of it soon; it makes room for another already.
        let counts = |slot: &&Slot<I>| match &slot.phase {
            Phase::Ready(instance) => instance.is_alive(),
            _ => true,
        };
        if self.list.iter().filter(counts).count() >= self.limits.instances as usize {
            return Next::Wait;
        }
        match self.restarts.leave(now, self.starting() > 0) {
            Leave::Now => {
                self.next_id += 1;
                let (id, started) = (self.next_id, start(self.next_id, self.config.clone()));
                let phase = Phase::Starting { started: started.clone(), driver: None };
                let age = self.restarts.age();
                if let Some(recent) = self.recent.of_this_thread() {
                    *recent = self.list.len();
                }
                self.list.push(Slot { id, age, held: 1, since: now, start: Duration::ZERO, made: now, phase });
                Next::Await(id, started)
            }
            Leave::At(then) => Next::Later(then),
            Leave::AfterTheOther => Next::Wait,
            // The others that live take the calls, one after another.
            Leave::Open(then) if self.list.iter().any(Slot::is_live) => Next::Later(then),
            Leave::Open(_) => Next::Refused(self.restarts.refusal(now)),
        }
    }

    /// Enters an instance that no call waits for.
    pub(crate) fn add(&mut self, instance: Arc<I>, begun: Instant, now: Instant) {
        self.next_id += 1;
        self.list.push(Slot {
            id: self.next_id,
            age: self.restarts.age(),
            held: 0,
            since: now,
            start: now.saturating_duration_since(begun),
            made: now,
            phase: Phase::Ready(instance),
        });
    }

    /// The start of that slot has made its instance. False if nobody wants it any more.
    pub(crate) fn ready(&mut self, id: u64, instance: &Arc<I>, now: Instant) -> bool {
        match self.find(id) {
            Some(slot) => {
                slot.start = now.saturating_duration_since(slot.since);
                slot.since = now;
                slot.made = now;
                slot.phase = Phase::Ready(Arc::clone(instance));
                true
            }
            None => false,
        }
    }

    /// Has `drive` go on with a start that a call leaves for a better place.
    pub(crate) fn keep(&mut self, id: u64, drive: impl FnOnce(Started<I>) -> Driver) {
        if let Some(slot) = self.find(id)
            && let Phase::Starting { started, driver: driver @ None } = &mut slot.phase
        {
            *driver = Some(drive(started.clone()));
        }
    }

    /// A call lets go of its place. Where others want `room`, an instance that no other call is in goes for them.
    pub(crate) fn give_back(&mut self, id: u64, now: Instant, room: Wanted) -> Left<I> {
        let (single_use, closed) = (self.limits.single_use, self.closed);
        let Some(slot) = self.find(id) else { return Left::Nothing };
        slot.held = slot.held.saturating_sub(1);
        let (age, unheld) = (slot.age, slot.held == 0);
        match &slot.phase {
            Phase::Starting { driver: None, .. } if unheld => self.remove(id).map_or(Left::Nothing, Left::Start),
            Phase::Ready(instance) => {
                let alive = instance.is_alive();
                let turn_over = now.saturating_duration_since(slot.made) >= TURN;
                let goes = matches!(room, Wanted::Now) || (matches!(room, Wanted::AfterItsTurn) && turn_over);
                let stays = !unheld || (alive && !single_use && !closed && !goes);
                let ended = (!stays).then(|| Arc::clone(instance));
                slot.since = now;
                if alive {
                    self.restarts.lives(age);
                }
                let Some(instance) = ended else { return Left::Nothing };
                self.remove(id);
                if !alive {
                    self.died(&instance, age, now);
                    return Left::Instance(instance);
                }
                if goes {
                    self.idle_stops += 1;
                    return Left::ForOthers(instance);
                }
                Left::Instance(instance)
            }
            _ => Left::Nothing,
        }
    }

    /// Takes out an instance that lives and is to be closed. False if there is no such.
    pub(crate) fn take_out(&mut self, id: u64) -> bool {
        let Some(slot) = self.find(id).filter(|slot| slot.is_live()) else { return false };
        let age = slot.age;
        self.restarts.lives(age);
        self.remove(id).is_some()
    }

    /// Takes out what died while no call was in it.
    pub(crate) fn remove_dead(&mut self, now: Instant) -> Vec<Slot<I>> {
        let dead: Vec<_> = self.list.extract_if(.., |slot| slot.held == 0 && slot.is_dead()).collect();
        for slot in &dead {
            if let Phase::Ready(instance) = &slot.phase {
                self.died(instance, slot.age, now);
            }
        }
        dead
    }

    fn died(&mut self, instance: &I, age: u64, now: Instant) {
        self.replaced += 1;
        if let Some(error) = instance.crash() {
            self.crashed(age, error, now);
        }
    }

    /// Notes a crash.
    pub(crate) fn crashed(&mut self, age: u64, error: PluginError, now: Instant) {
        // Without random numbers, in the middle.
        let chance = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        self.restarts.crashed(age, error, now, chance);
    }

    /// The instances in use, with what they are known by.
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

    /// Takes out the starts that go on without a call that waits.
    pub(crate) fn drop_starts(&mut self) -> Vec<Slot<I>> {
        self.list.extract_if(.., |slot| slot.instance().is_none()).collect()
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<Slot<I>> {
        std::mem::take(&mut self.list)
    }

    /// Whether a task should begin to look after idle instances.
    pub(crate) fn wants_watch(&mut self) -> bool {
        let wants = !self.watched
            && !self.closed
            && self.limits.idle.is_some_and(|idle| self.list.len() > idle.keep as usize)
            && self.list.iter().any(|slot| slot.held == 0);
        self.watched |= wants;
        wants
    }

    /// No task looks after idle instances after all.
    pub(crate) fn unwatch(&mut self) {
        self.watched = false;
    }

    /// Takes the instances out of use that have been idle for too long, and tells when to look again; if nothing is
    /// left to look after, the task is to end.
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

    fn longest_idle(&mut self) -> Option<&mut Slot<I>> {
        self.list.iter_mut().filter(|slot| slot.held == 0 && slot.is_live()).min_by_key(|slot| slot.since)
    }

    /// Since when the instance has been idle that has been so for longest.
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
        self.list.iter().filter(|slot| matches!(slot.phase, Phase::Starting { .. })).count()
    }

    /// Adds what is known here to a plugin's statistics, and gives the instances, to be asked without the lock.
    pub(crate) fn tell(&self, stats: &mut Stats, now: Instant) -> Vec<Known<I>> {
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
    /// None while a call is in it.
    pub(crate) idle: Option<Duration>,
}

impl<I: Instance> Slot<I> {
    fn take(&mut self, per_instance: u32) -> Option<(u64, Arc<I>)> {
        match &self.phase {
            Phase::Ready(instance) if self.held < per_instance && instance.is_alive() => {
                self.held += 1;
                Some((self.id, Arc::clone(instance)))
            }
            _ => None,
        }
    }

    pub(crate) fn instance(&self) -> Option<&Arc<I>> {
        match &self.phase {
            Phase::Starting { .. } => None,
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
