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
    cpu_slots: u32,
    next: u64,
    line: BTreeMap<u64, Waiter>,
    /// Those of the running calls that were promised memory.
    promised: BTreeMap<u64, Promise>,
}

struct Waiter {
    need: Need,
    give: oneshot::Sender<Place>,
}

/// Memory, of the host and of a GPU, in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    host: u64,
    gpu: u64,
}

/// Memory that a call may still take.
struct Promise {
    pids: Vec<u32>,
    memory: Memory,
    /// What the processes held before. What they hold beyond it is taken already, and free no more.
    before: Memory,
}

impl Promise {
    fn left(&self, now: Memory) -> Memory {
        let left = |promised: u64, before: u64, now: u64| promised.saturating_sub(now.saturating_sub(before));
        Memory {
            host: left(self.memory.host, self.before.host, now.host),
            gpu: left(self.memory.gpu, self.before.gpu, now.gpu),
        }
    }
}

/// The machine as a call finds it. What processes hold is only looked up for a call that asks for memory.
#[derive(Default)]
struct View {
    snapshot: SystemSnapshot,
    /// What its own processes hold.
    own: Memory,
    /// What the processes of calls with promises hold.
    others: BTreeMap<u64, Memory>,
}

/// Why a call cannot start.
pub(super) enum Refusal {
    /// Not now.
    Busy(String),
    /// Never on this machine.
    Never(String),
}

/// A place kept in the books until dropped.
pub(super) struct Place {
    ledger: Arc<Ledger>,
    cpu_slots: u32,
    promise: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut books = self.ledger.books();
        books.cpu_slots = books.cpu_slots.saturating_sub(self.cpu_slots);
        let promise = self.promise.and_then(|number| books.promised.remove(&number));
        let waits = !books.line.is_empty();
        drop(books);
        drop(promise);
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
        let free = self.cpu_slots.saturating_sub(books.cpu_slots);
        let mut line = books.line.range(from..);
        line.find(|(_, waiter)| waiter.need.cpu_slots <= free).map(|(ticket, waiter)| (*ticket, waiter.need.clone()))
    }

    /// Enters the need into the books, if it fits.
    pub(super) fn try_place(self: &Arc<Self>, need: &Need) -> Result<Place, Refusal> {
        // A call that asks for processor slots alone is not worth a look at the machine.
        let asks = asks_for_memory(need);
        let view = (asks || need.requires_gpu).then(|| self.look(need));
        let mut books = self.books();
        self.check(need, &books, view.as_ref())?;
        books.cpu_slots = books.cpu_slots.saturating_add(need.cpu_slots);
        let promise = view.filter(|_| asks).map(|view| {
            let number = books.next;
            books.next += 1;
            let memory = Memory { host: need.memory_bytes, gpu: need.gpu_memory_bytes };
            books.promised.insert(number, Promise { pids: need.pids.clone(), memory, before: view.own });
            number
        });
        Ok(Place { ledger: Arc::clone(self), cpu_slots: need.cpu_slots, promise })
    }

    /// Looks at the machine, which may take long: without the books' lock.
    fn look(&self, need: &Need) -> View {
        let snapshot = self.monitor.snapshot();
        if !asks_for_memory(need) {
            return View { snapshot, ..View::default() };
        }
        let promised: Vec<(u64, Vec<u32>)> = {
            let books = self.books();
            books.promised.iter().map(|(number, promise)| (*number, promise.pids.clone())).collect()
        };
        let held = |pids: &[u32]| Memory {
            host: self.monitor.memory_of(pids),
            gpu: snapshot.gpu_memory_of(pids).unwrap_or_default(),
        };
        let others = promised.into_iter().map(|(number, pids)| (number, held(&pids))).collect();
        View { own: held(&need.pids), others, snapshot }
    }

    fn check(&self, need: &Need, books: &Books, view: Option<&View>) -> Result<(), Refusal> {
        if need.cpu_slots > self.cpu_slots {
            let what = format!("it needs {} processor slots and the host has {}", need.cpu_slots, self.cpu_slots);
            return Err(Refusal::Never(what));
        }
        if books.cpu_slots.saturating_add(need.cpu_slots) > self.cpu_slots {
            let what = format!("all {} processor slots of the host are taken", self.cpu_slots);
            return Err(Refusal::Busy(what));
        }
        let Some(View { snapshot, others, .. }) = view else { return Ok(()) };
        let mut promised = Memory::default();
        for (number, promise) in &books.promised {
            // One that came since holds no more than it did when it came.
            let left = promise.left(others.get(number).copied().unwrap_or(promise.before));
            promised.host = promised.host.saturating_add(left.host);
            promised.gpu = promised.gpu.saturating_add(left.gpu);
        }
        let (free, total) = (snapshot.memory_available_bytes, snapshot.memory_total_bytes);
        if total > 0 {
            compare("host memory", need.memory_bytes, promised.host, free, total)?;
        }
        if need.requires_gpu && snapshot.gpus.is_empty() {
            return Err(Refusal::Never("it needs a GPU and none can be seen".to_owned()));
        }
        let free = snapshot.gpus.iter().map(|gpu| gpu.memory_free_bytes).max().unwrap_or(0);
        let total = snapshot.gpus.iter().map(|gpu| gpu.memory_total_bytes).max().unwrap_or(0);
        compare("GPU memory", need.gpu_memory_bytes, promised.gpu, free, total)
    }
}

fn asks_for_memory(need: &Need) -> bool {
    need.memory_bytes > 0 || need.gpu_memory_bytes > 0
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
