//! What running calls have been promised, held against what the machine has, and the line of those that wait for more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Need;
use crate::monitor::{Monitor, SystemSnapshot};

/// Adds up the places of running calls.
pub(super) struct Ledger {
    monitor: Arc<dyn Monitor>,
    cpu_slots: u32,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    promised: Promised,
    next: u64,
    line: BTreeMap<u64, Waiter>,
}

struct Waiter {
    need: Need,
    give: oneshot::Sender<Place>,
}

#[derive(Clone, Copy, Default)]
struct Promised {
    cpu_slots: u32,
    memory_bytes: u64,
    gpu_memory_bytes: u64,
}

impl Promised {
    fn add(&mut self, more: Self) {
        self.cpu_slots = self.cpu_slots.saturating_add(more.cpu_slots);
        self.memory_bytes = self.memory_bytes.saturating_add(more.memory_bytes);
        self.gpu_memory_bytes = self.gpu_memory_bytes.saturating_add(more.gpu_memory_bytes);
    }

    fn take_back(&mut self, less: Self) {
        self.cpu_slots = self.cpu_slots.saturating_sub(less.cpu_slots);
        self.memory_bytes = self.memory_bytes.saturating_sub(less.memory_bytes);
        self.gpu_memory_bytes = self.gpu_memory_bytes.saturating_sub(less.gpu_memory_bytes);
    }
}

/// Why a call cannot start.
pub(super) enum Refusal {
    /// Not now.
    Busy(String),
    /// Never on this machine.
    Never(String),
}

/// A promise kept in the books until dropped.
pub(super) struct Place {
    ledger: Arc<Ledger>,
    promised: Promised,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut books = self.ledger.books();
        books.promised.take_back(self.promised);
        let waits = !books.line.is_empty();
        drop(books);
        if waits {
            self.ledger.hand_on();
        }
    }
}

/// A call's stand in the line, while it lives.
pub(super) struct Stand {
    ledger: Arc<Ledger>,
    ticket: u64,
    /// Gives its place.
    pub(super) place: oneshot::Receiver<Place>,
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
        Arc::new(Self { monitor, cpu_slots, books: Mutex::default() })
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
        drop(books);
        Stand { ledger: Arc::clone(self), ticket, place }
    }

    /// Gives what is free to those in the line whom it serves, in order. Nobody else is woken.
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

    /// The first in the line for whom there are processor slots.
    fn next_in_line(&self, from: u64) -> Option<(u64, Need)> {
        let books = self.books();
        let free = self.cpu_slots.saturating_sub(books.promised.cpu_slots);
        let mut line = books.line.range(from..);
        line.find(|(_, waiter)| waiter.need.cpu_slots <= free).map(|(ticket, waiter)| (*ticket, waiter.need.clone()))
    }

    /// Enters the need into the books, if it fits.
    pub(super) fn try_place(self: &Arc<Self>, need: &Need) -> Result<Place, Refusal> {
        // A call that asks for processor slots alone is not worth a look at the machine.
        let weighs = need.memory_bytes > 0 || need.gpu_memory_bytes > 0 || need.requires_gpu;
        let snapshot = weighs.then(|| self.monitor.snapshot());
        let mut books = self.books();
        let promised = &mut books.promised;
        self.check(need, promised, snapshot.as_ref())?;
        let Need { cpu_slots, memory_bytes, gpu_memory_bytes, .. } = *need;
        let more = Promised { cpu_slots, memory_bytes, gpu_memory_bytes };
        promised.add(more);
        Ok(Place { ledger: Arc::clone(self), promised: more })
    }

    fn check(&self, need: &Need, promised: &Promised, snapshot: Option<&SystemSnapshot>) -> Result<(), Refusal> {
        if need.cpu_slots > self.cpu_slots {
            let what = format!("it needs {} processor slots and the host has {}", need.cpu_slots, self.cpu_slots);
            return Err(Refusal::Never(what));
        }
        if promised.cpu_slots.saturating_add(need.cpu_slots) > self.cpu_slots {
            let what = format!("all {} processor slots of the host are taken", self.cpu_slots);
            return Err(Refusal::Busy(what));
        }
        let Some(snapshot) = snapshot else { return Ok(()) };
        let (free, total) = (snapshot.memory_available_bytes, snapshot.memory_total_bytes);
        if total > 0 {
            compare("host memory", need.memory_bytes, promised.memory_bytes, free, total)?;
        }
        if need.requires_gpu && snapshot.gpus.is_empty() {
            return Err(Refusal::Never("it needs a GPU and none can be seen".to_owned()));
        }
        let free = snapshot.gpus.iter().map(|gpu| gpu.memory_free_bytes).max().unwrap_or(0);
        let total = snapshot.gpus.iter().map(|gpu| gpu.memory_total_bytes).max().unwrap_or(0);
        compare("GPU memory", need.gpu_memory_bytes, promised.gpu_memory_bytes, free, total)
    }
}

fn compare(what: &str, need: u64, promised: u64, free: u64, total: u64) -> Result<(), Refusal> {
    let mib = |bytes: u64| bytes >> 20;
    if need > total {
        return Err(Refusal::Never(format!("it needs {} MiB of {what} and there are {}", mib(need), mib(total))));
    }
    if need > 0 && need.saturating_add(promised) > free {
        let left = mib(free.saturating_sub(promised));
        return Err(Refusal::Busy(format!("it needs {} MiB of {what} and {left} are free", mib(need))));
    }
    Ok(())
}
