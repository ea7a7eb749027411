//! What running calls have been promised, held against what the machine has, and the line of those that wait for more.
//!
//! A look at the machine takes long, so no call takes one where the last look will do (`recent`): it is admitted by that at
//! once, or by a look that begins after it came, on a thread that may block. Nothing is refused or made to wait by an old look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::{PluginError, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::recent::{Age, Pending, Recent};
use super::{Admission, Need};
use crate::monitor::{Monitor, SystemSnapshot};
use crate::turns::{Turn, Turns};

/// Adds up the places of running calls.
pub(super) struct Ledger {
    monitor: Arc<dyn Monitor>,
    cpu_slots: u32,
    books: Mutex<Books>,
    /// Of those who look at the machine.
    looks: Turns,
}

#[derive(Default)]
struct Books {
    cpu_slots: u32,
    next: u64,
    line: BTreeMap<u64, Waiter>,
    /// Those of the running calls that were promised memory.
    promised: BTreeMap<u64, Promise>,
    /// The last look at the machine.
    recent: Option<Recent>,
    /// What happens during the one that is under way.
    pending: Option<Pending>,
    /// Where those in the line wait.
    runtime: Option<Handle>,
}

struct Waiter {
    need: Need,
    give: oneshot::Sender<Reservation>,
}

/// Memory, of the host and of a GPU, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) host: u64,
    pub(super) gpu: u64,
}

impl Memory {
    pub(super) fn and(self, other: Self) -> Self {
        Self { host: self.host.saturating_add(other.host), gpu: self.gpu.saturating_add(other.gpu) }
    }

    pub(super) fn or_more(self, other: Self) -> Self {
        Self { host: self.host.max(other.host), gpu: self.gpu.max(other.gpu) }
    }
}

/// Memory that a call may still take.
struct Promise {
    plugin: String,
    pids: Vec<u32>,
    memory: Memory,
    /// What the processes held before. What they hold beyond it is taken already, and free no more.
    before: Memory,
    /// What was left of it at the last look.
    left: Memory,
}

impl Promise {
    fn left_when_they_hold(&self, now: Memory) -> Memory {
        let left = |promised: u64, before: u64, now: u64| promised.saturating_sub(now.saturating_sub(before));
        Memory {
            host: left(self.memory.host, self.before.host, now.host),
            gpu: left(self.memory.gpu, self.before.gpu, now.gpu),
        }
    }
}

impl Books {
    /// What `each` tells of the promises to a plugin's calls, added up.
    fn sum(&self, plugin: &str, each: impl Fn(&Promise) -> Memory) -> Memory {
        let own = self.promised.values().filter(|promise| promise.plugin == plugin);
        own.fold(Memory::default(), |sum, promise| sum.and(each(promise)))
    }

    fn promise(&mut self, need: &Need) -> u64 {
        let number = self.next;
        self.next += 1;
        let memory = need.memory();
        let before = Memory { host: need.held_bytes, gpu: need.held_gpu_bytes };
        let promise = Promise { plugin: need.plugin.clone(), pids: need.pids.clone(), memory, before, left: memory };
        self.promised.insert(number, promise);
        let left = self.sum(&need.plugin, |promise| promise.left);
        if let Some(recent) = &mut self.recent {
            recent.promised(&need.plugin, left);
        }
        number
    }

    /// The call of this promise has ended.
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

/// A place kept in the books until dropped.
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    cpu_slots: u32,
    promise: Option<u64>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut books = self.ledger.books();
        books.cpu_slots = books.cpu_slots.saturating_sub(self.cpu_slots);
        let promise = self.promise.and_then(|number| books.release(number));
        drop(books);
        drop(promise);
        self.ledger.serve_line();
    }
}

/// A call's stand in the line, while it lives.
pub(super) struct Stand {
    ledger: Arc<Ledger>,
    ticket: u64,
    /// Gives its place.
    pub(super) place: oneshot::Receiver<Reservation>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        let waiter = self.ledger.books().line.remove(&self.ticket);
        drop(waiter);
    }
}

impl Ledger {
    pub(super) fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Arc<Self> {
        let cpu_slots = cpu_slots.unwrap_or_else(|| monitor.snapshot().cpus).max(1);
        Arc::new(Self { monitor, cpu_slots, books: Mutex::default(), looks: Turns::default() })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines a call up. What is given back from now on is offered to it after those before it.
    pub(super) fn line_up(self: &Arc<Self>, need: &Need) -> Stand {
        let (give, place) = oneshot::channel();
        let mut books = self.books();
        let ticket = books.next;
        books.next += 1;
        books.line.insert(ticket, Waiter { need: need.clone(), give });
        books.runtime = Handle::try_current().ok();
        drop(books);
        Stand { ledger: Arc::clone(self), ticket, place }
    }

    /// Gives what is free to those in the line: at once, unless that takes a look at the machine.
    fn serve_line(self: &Arc<Self>) {
        let looking = {
            let books = self.books();
            if books.line.is_empty() {
                return;
            }
            let looks = books.line.values().any(|waiter| waiter.need.concerns_memory());
            books.runtime.clone().filter(|_| looks)
        };
        let Some(runtime) = looking else { return self.hand_on() };
        let ledger = Arc::clone(self);
        runtime.spawn(async move {
            // Without a look they look for themselves after a while.
            if ledger.look().await.is_ok() {
                ledger.hand_on();
            }
        });
    }

    /// Gives what is free, by the last look, to those in the line whom it serves, in order. Nobody else is woken.
    fn hand_on(self: &Arc<Self>) {
        let mut from = 0;
        while let Some((ticket, need)) = self.next_in_line(from) {
            from = ticket + 1;
            let Ok(place) = self.try_place(&need) else { continue };
            let waiter = self.books().line.remove(&ticket);
            // A place that nobody takes any more is given back as it is dropped here, without the lock.
            match waiter {
                Some(waiter) => drop(waiter.give.send(place)),
                None => drop(place),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.books().line.len()
    }

    /// The first in the line for whom there are processor slots.
    fn next_in_line(&self, from: u64) -> Option<(u64, Need)> {
        let books = self.books();
        let free = self.cpu_slots.saturating_sub(books.cpu_slots);
        let mut line = books.line.range(from..);
        line.find(|(_, waiter)| waiter.need.cpu_slots <= free).map(|(ticket, waiter)| (*ticket, waiter.need.clone()))
    }

    /// Admits a call at once that asks for nothing, or whose place needs no look at the machine.
    pub(super) fn admit_at_once(self: &Arc<Self>, need: &Need) -> Option<Admission> {
        match need.is_nothing() {
            true => Some(Admission::default()),
            false => self.place_at_once(need).map(Admission::new),
        }
    }

    /// A place where the last look, and all that was promised since, leave no doubt that the need fits. Takes no look at the
    /// machine; where the last one is no longer new, another begins in the background.
    fn place_at_once(self: &Arc<Self>, need: &Need) -> Option<Reservation> {
        let books = self.books();
        if need.concerns_memory() {
            let recent = books.recent.as_ref()?;
            match recent.age() {
                Age::New => {}
                Age::Aging => self.look_later(),
                Age::Old => return None,
            }
            if !recent.leaves_room(need, books.sum(&need.plugin, |promise| promise.left)) {
                return None;
            }
        }
        self.enter(need, books).ok()
    }

    /// A place, if the need fits by the last look.
    pub(super) fn try_place(self: &Arc<Self>, need: &Need) -> std::result::Result<Reservation, Shortage> {
        self.enter(need, self.books())
    }

    fn enter(
        self: &Arc<Self>,
        need: &Need,
        mut books: MutexGuard<'_, Books>,
    ) -> std::result::Result<Reservation, Shortage> {
        self.check(need, &books)?;
        books.cpu_slots = books.cpu_slots.saturating_add(need.cpu_slots);
        let promise = need.asks_for_memory().then(|| books.promise(need));
        Ok(Reservation { ledger: Arc::clone(self), cpu_slots: need.cpu_slots, promise })
    }

    /// Waits for a look at the machine that begins from now on, on a thread that may block.
    pub(super) async fn look(self: &Arc<Self>) -> Result<()> {
        let Some(turn) = self.looks.next().await else { return Ok(()) };
        let ledger = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || ledger.look_now(turn)).await;
        looked.map_err(|error| PluginError::internal(format!("the machine's memory could not be looked at: {error}")))
    }

    /// Has somebody look in the background, unless somebody does.
    fn look_later(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(turn) = self.looks.try_next() {
            let ledger = Arc::clone(self);
            runtime.spawn_blocking(move || ledger.look_now(turn));
        }
    }

    /// Blocks, for some milliseconds where there are GPUs.
    fn look_now(&self, turn: Turn) {
        let at = Instant::now();
        let processes: BTreeSet<Vec<u32>> = {
            let mut books = self.books();
            books.pending = Some(Pending::default());
            books.promised.values().map(|promise| promise.pids.clone()).collect()
        };
        let snapshot = self.monitor.snapshot();
        let held = |pids: &Vec<u32>| Memory {
            host: self.monitor.memory_of(pids),
            gpu: snapshot.gpu_memory_of(pids).unwrap_or_default(),
        };
        let held: BTreeMap<Vec<u32>, Memory> = processes.into_iter().map(|pids| (pids.clone(), held(&pids))).collect();
        let mut books = self.books();
        // Processes that came since hold no more than they did when they came.
        for promise in books.promised.values_mut() {
            if let Some(now) = held.get(&promise.pids) {
                promise.left = promise.left_when_they_hold(*now);
            }
        }
        let left = books.promised.values().map(|promise| (promise.plugin.clone(), promise.left));
        let recent = Recent::new(at, snapshot, left);
        let pending = books.pending.take().unwrap_or_default();
        books.recent = Some(recent.after(pending));
        drop(books);
        turn.finish();
    }

    fn check(&self, need: &Need, books: &Books) -> std::result::Result<(), Shortage> {
        if need.cpu_slots > self.cpu_slots {
            let what = format!("it needs {} processor slots and the host has {}", need.cpu_slots, self.cpu_slots);
            return Err(Shortage::Never(what));
        }
        if books.cpu_slots.saturating_add(need.cpu_slots) > self.cpu_slots {
            let what = format!("all {} processor slots of the host are taken", self.cpu_slots);
            return Err(Shortage::Busy(what));
        }
        if !need.concerns_memory() {
            return Ok(());
        }
        let nothing = SystemSnapshot::default();
        let snapshot = books.recent.as_ref().map_or(&nothing, Recent::snapshot);
        let promised = books.promised.values().fold(Memory::default(), |all, promise| all.and(promise.left));
        let (free, total) = (snapshot.memory_available_bytes, snapshot.memory_total_bytes);
        if total > 0 {
            compare("host memory", need.memory_bytes, promised.host, free, total)?;
        }
        if need.requires_gpu && snapshot.gpus.is_empty() {
            return Err(Shortage::Never("it needs a GPU and none can be seen".to_owned()));
        }
        let free = snapshot.gpus.iter().map(|gpu| gpu.memory_free_bytes).max().unwrap_or(0);
        let total = snapshot.gpus.iter().map(|gpu| gpu.memory_total_bytes).max().unwrap_or(0);
        compare("GPU memory", need.gpu_memory_bytes, promised.gpu, free, total)
    }
}

fn compare(what: &str, need: u64, promised: u64, free: u64, total: u64) -> std::result::Result<(), Shortage> {
    let mib = |bytes: u64| bytes >> 20;
    if need > total {
        return Err(Shortage::Never(format!("it needs {} MiB of {what} and there are {}", mib(need), mib(total))));
    }
    if need > 0 && need.saturating_add(promised) > free {
        let left = mib(free.saturating_sub(promised));
        return Err(Shortage::Busy(format!("it needs {} MiB of {what} and {left} are free", mib(need))));
    }
    Ok(())
}
