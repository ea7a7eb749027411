//! Compares what running calls have been promised with what the machine has, and keeps the queue of waiting calls.
//!
//! Measuring the machine takes long, so a call uses the last measurement if that is enough to admit it (`recent`). Otherwise a new
//! measurement begins, on a thread that may block. No call is refused or made to wait because of an old measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::{Admission, PluginError, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::need::Need;
use super::recent::{Age, Pending, Recent};
use crate::monitor::{Monitor, SystemSnapshot};
use crate::turns::{Turn, Turns};

/// Accounts for the processor slots and the host memory of running calls.
pub(super) struct Ledger {
    monitor: Arc<dyn Monitor>,
    cpu_slots: u32,
    accounts: Mutex<Accounts>,
    /// For measuring the machine.
    measurements: Turns,
}

#[derive(Default)]
struct Accounts {
    cpu_slots: u32,
    next: u64,
    queue: BTreeMap<u64, Waiter>,
    /// The promises to running calls that asked for memory.
    promised: BTreeMap<u64, Promise>,
    /// The last measurement of the machine.
    recent: Option<Recent>,
    /// Calls that ended during the measurement that is running.
    pending: Option<Pending>,
    /// The async runtime of the waiting calls.
    runtime: Option<Handle>,
}

struct Waiter {
    need: Need,
    give: oneshot::Sender<Reservation>,
}

/// Memory that a call may still take.
struct Promise {
    plugin: String,
    pids: Vec<u32>,
    memory: u64,
    /// What the processes used before. What they use in addition is already taken, and no longer counts as free.
    before: u64,
    /// The part of the promise that was not taken yet at the last measurement.
    left: u64,
}

impl Promise {
    fn left_when_they_hold(&self, now: u64) -> u64 {
        self.memory.saturating_sub(now.saturating_sub(self.before))
    }
}

impl Accounts {
    /// The sum of `each` over all promises to a plugin's calls.
    fn sum(&self, plugin: &str, each: impl Fn(&Promise) -> u64) -> u64 {
        let own = self.promised.values().filter(|promise| promise.plugin == plugin);
        own.fold(0, |sum, promise| sum.saturating_add(each(promise)))
    }

    fn promise(&mut self, need: &Need) -> u64 {
        let number = self.next;
        self.next += 1;
        let (memory, before) = (need.memory_bytes, need.held_bytes);
        let promise = Promise { plugin: need.plugin.clone(), pids: need.pids.clone(), memory, before, left: memory };
        self.promised.insert(number, promise);
        let left = self.sum(&need.plugin, |promise| promise.left);
        if let Some(recent) = &mut self.recent {
            recent.promised(&need.plugin, left);
        }
        number
    }

    /// Removes a promise, because its call has ended.
    fn release(&mut self, number: u64) -> Option<Promise> {
        let plugin = &self.promised.get(&number)?.plugin;
        let all = self.sum(plugin, |promise| promise.memory);
        if let Some(pending) = &mut self.pending {
            pending.ends(plugin, all);
        }
        self.promised.remove(&number)
    }
}

/// Why a call cannot start.
pub(super) enum Shortage {
    /// Not now.
    Busy(String),
    /// Never on this machine.
    Never(String),
}

/// The processor slots and the memory of a running call, released when it is dropped.
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    cpu_slots: u32,
    promise: Option<u64>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts();
        accounts.cpu_slots = accounts.cpu_slots.saturating_sub(self.cpu_slots);
        let promise = self.promise.and_then(|number| accounts.release(number));
        drop(accounts);
        drop(promise);
        self.ledger.serve_queue();
    }
}

/// A call's entry in the queue. Dropping it removes the call from the queue.
pub(super) struct QueueEntry {
    ledger: Arc<Ledger>,
    ticket: u64,
    /// Receives the reservation.
    pub(super) reservation: oneshot::Receiver<Reservation>,
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        let waiter = self.ledger.accounts().queue.remove(&self.ticket);
        drop(waiter);
    }
}

impl Ledger {
    pub(super) fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Arc<Self> {
        let cpu_slots = cpu_slots.unwrap_or_else(|| monitor.snapshot().cpus).max(1);
        Arc::new(Self { monitor, cpu_slots, accounts: Mutex::default(), measurements: Turns::default() })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call to the queue. What is released from now on is offered to the queued calls in order.
    pub(super) fn enqueue(self: &Arc<Self>, need: &Need) -> QueueEntry {
        let (give, reservation) = oneshot::channel();
        let mut accounts = self.accounts();
        let ticket = accounts.next;
        accounts.next += 1;
        accounts.queue.insert(ticket, Waiter { need: need.clone(), give });
        accounts.runtime = Handle::try_current().ok();
        drop(accounts);
        QueueEntry { ledger: Arc::clone(self), ticket, reservation }
    }

    /// Gives what is free to queued calls: at once, or after a measurement if one is needed.
    fn serve_queue(self: &Arc<Self>) {
        let runtime = {
            let accounts = self.accounts();
            if accounts.queue.is_empty() {
                return;
            }
            let measures = accounts.queue.values().any(|waiter| waiter.need.asks_for_memory());
            accounts.runtime.clone().filter(|_| measures)
        };
        let Some(runtime) = runtime else { return self.give_reservations() };
        let ledger = Arc::clone(self);
        runtime.spawn(async move {
            // If measuring fails, the calls try again by themselves after a while.
            if ledger.measure().await.is_ok() {
                ledger.give_reservations();
            }
        });
    }

    /// Gives what is free, by the last measurement, to the queued calls for which it is enough, in order. Other calls are not woken.
    fn give_reservations(self: &Arc<Self>) {
        let mut from = 0;
        while let Some((ticket, need)) = self.next_queued(from) {
            from = ticket + 1;
            let Ok(reservation) = self.try_reserve(&need) else { continue };
            let waiter = self.accounts().queue.remove(&ticket);
            // If the call no longer waits, the reservation is released by dropping it here, without the lock.
            match waiter {
                Some(waiter) => drop(waiter.give.send(reservation)),
                None => drop(reservation),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.accounts().queue.len()
    }

    /// The first queued call for which there are processor slots.
    fn next_queued(&self, from: u64) -> Option<(u64, Need)> {
        let accounts = self.accounts();
        let free = self.cpu_slots.saturating_sub(accounts.cpu_slots);
        let mut queue = accounts.queue.range(from..);
        queue.find(|(_, waiter)| waiter.need.cpu_slots <= free).map(|(ticket, waiter)| (*ticket, waiter.need.clone()))
    }

    /// Admits a call at once if it asks for nothing, or if its need surely fits without a measurement.
    pub(super) fn admit_at_once(self: &Arc<Self>, need: &Need) -> Option<Admission> {
        match need.is_nothing() {
            true => Some(Admission::default()),
            false => self.reserve_at_once(need).map(Admission::new),
        }
    }

    /// A reservation, if the need surely fits by the last measurement and all promises since. Does not measure the machine. If the last
    /// measurement is aging, a new one is started in the background.
    fn reserve_at_once(self: &Arc<Self>, need: &Need) -> Option<Reservation> {
        let accounts = self.accounts();
        if need.asks_for_memory() {
            let recent = accounts.recent.as_ref()?;
            match recent.age() {
                Age::New => {}
                Age::Aging => self.measure_later(),
                Age::Old => return None,
            }
            if !recent.leaves_room(need, accounts.sum(&need.plugin, |promise| promise.left)) {
                return None;
            }
        }
        self.enter(need, accounts).ok()
    }

    /// A reservation, if the need fits by the last measurement.
    pub(super) fn try_reserve(self: &Arc<Self>, need: &Need) -> std::result::Result<Reservation, Shortage> {
        self.enter(need, self.accounts())
    }

    fn enter(
        self: &Arc<Self>,
        need: &Need,
        mut accounts: MutexGuard<'_, Accounts>,
    ) -> std::result::Result<Reservation, Shortage> {
        self.check(need, &accounts)?;
        accounts.cpu_slots = accounts.cpu_slots.saturating_add(need.cpu_slots);
        let promise = need.asks_for_memory().then(|| accounts.promise(need));
        Ok(Reservation { ledger: Arc::clone(self), cpu_slots: need.cpu_slots, promise })
    }

    /// Waits for a measurement of the machine that begins after this call, on a thread that may block.
    pub(super) async fn measure(self: &Arc<Self>) -> Result<()> {
        let Some(turn) = self.measurements.next().await else { return Ok(()) };
        let ledger = Arc::clone(self);
        let measured = tokio::task::spawn_blocking(move || ledger.measure_now(turn)).await;
        measured.map_err(|error| PluginError::internal(format!("the machine's memory could not be measured: {error}")))
    }

    /// Starts a measurement in the background, unless one is running.
    fn measure_later(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(turn) = self.measurements.try_next() {
            let ledger = Arc::clone(self);
            runtime.spawn_blocking(move || ledger.measure_now(turn));
        }
    }

    /// Measures the machine. Blocks, for some milliseconds if there are GPUs.
    fn measure_now(&self, turn: Turn) {
        let at = Instant::now();
        let processes: BTreeSet<Vec<u32>> = {
            let mut accounts = self.accounts();
            accounts.pending = Some(Pending::default());
            accounts.promised.values().map(|promise| promise.pids.clone()).collect()
        };
        let snapshot = self.monitor.snapshot();
        let held = |pids: Vec<u32>| {
            let held = self.monitor.memory_of(&pids);
            (pids, held)
        };
        let held: BTreeMap<Vec<u32>, u64> = processes.into_iter().map(held).collect();
        let mut accounts = self.accounts();
        // Processes that were added meanwhile still use what they used when they were added.
        for promise in accounts.promised.values_mut() {
            if let Some(now) = held.get(&promise.pids) {
                promise.left = promise.left_when_they_hold(*now);
            }
        }
        let left = accounts.promised.values().map(|promise| (promise.plugin.clone(), promise.left));
        let recent = Recent::new(at, snapshot, left);
        let pending = accounts.pending.take().unwrap_or_default();
        accounts.recent = Some(recent.after(pending));
        drop(accounts);
        turn.finish();
    }

    /// Why the machine can never give what the call needs. Blocks while the machine is measured.
    pub(super) fn lacks(&self, need: &Need) -> Option<String> {
        let snapshot = if need.asks_for_memory() { self.monitor.snapshot() } else { SystemSnapshot::default() };
        self.lacks_by(need, &snapshot)
    }

    fn lacks_by(&self, need: &Need, snapshot: &SystemSnapshot) -> Option<String> {
        if need.cpu_slots > self.cpu_slots {
            return Some(format!("it needs {} processor slots, but the host has {}", need.cpu_slots, self.cpu_slots));
        }
        if !need.asks_for_memory() {
            return None;
        }
        let mib = |bytes: u64| bytes >> 20;
        let (need, total) = (need.memory_bytes, snapshot.memory_total_bytes);
        let lacks = || format!("it needs {} MiB of host memory, but the host has {}", mib(need), mib(total));
        (total > 0 && need > total).then(lacks)
    }

    fn check(&self, need: &Need, accounts: &Accounts) -> std::result::Result<(), Shortage> {
        let nothing = SystemSnapshot::default();
        let snapshot = accounts.recent.as_ref().map_or(&nothing, Recent::snapshot);
        if let Some(what) = self.lacks_by(need, snapshot) {
            return Err(Shortage::Never(what));
        }
        if accounts.cpu_slots.saturating_add(need.cpu_slots) > self.cpu_slots {
            let what = format!("all {} processor slots of the host are in use", self.cpu_slots);
            return Err(Shortage::Busy(what));
        }
        if !need.asks_for_memory() {
            return Ok(());
        }
        let promised = accounts.promised.values().fold(0u64, |all, promise| all.saturating_add(promise.left));
        match snapshot.memory_total_bytes {
            0 => Ok(()),
            _ => compare(need.memory_bytes, promised, snapshot.memory_available_bytes),
        }
    }
}

fn compare(need: u64, promised: u64, free: u64) -> std::result::Result<(), Shortage> {
    let mib = |bytes: u64| bytes >> 20;
    if need > 0 && need.saturating_add(promised) > free {
        let left = mib(free.saturating_sub(promised));
        return Err(Shortage::Busy(format!("it needs {} MiB of host memory, but only {left} are free", mib(need))));
    }
    Ok(())
}
