//! Places instances on GPUs, and makes room for those that do not fit by ending instances of other plugins.
//!
//! [`plan`] decides; this module measures the machine, carries out what was decided, and does so again until no request waits.

mod accounts;
mod book;
mod plan;
mod reason;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod victims;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bivium_instances::{DeviceNeed, DeviceRequest, Devices, Placed};
use bivium_interface::{PluginError, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::book::{Book, Measured};
use self::plan::plan;
use self::reason::Never;
use crate::monitor::{Gpu, Monitor};

pub(super) use self::plan::Patience;

/// How often the machine is measured while a request waits, because other programs free memory without notice.
const TICK: Duration = Duration::from_millis(250);

/// The least time between two measurements while a request waits.
const LEAST: Duration = Duration::from_millis(5);

/// The GPUs of the machine, as a scheduler sees them.
pub(super) struct Gpus {
    monitor: Arc<dyn Monitor>,
    patience: Patience,
    book: Mutex<Book>,
    /// How many requests wait.
    waiting: AtomicUsize,
    /// Something has changed that may make room.
    changed: Notify,
}

/// The room of an instance, until it is dropped.
struct Room {
    gpus: Arc<Gpus>,
    instance: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gpus.book().ended(self.instance);
        self.gpus.note();
    }
}

/// A request, until it is granted or dropped.
struct Entry {
    gpus: Arc<Gpus>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut book = self.gpus.book();
        let withdrawn = book.withdraw(self.id);
        self.gpus.waiting.store(book.requests.len(), Ordering::Release);
        drop(book);
        drop(withdrawn);
        self.gpus.note();
    }
}

/// Serves requests until none waits. If its runtime ends, the next request starts another.
struct Serving {
    gpus: Arc<Gpus>,
    number: u64,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut book = self.gpus.book();
        book.serving = book.serving.filter(|number| *number != self.number);
    }
}

impl Gpus {
    /// Requests wait for instances in use for this long, and instances stay for at most `stay` after their start.
    pub(super) fn new(monitor: Arc<dyn Monitor>, patience: Patience) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            monitor,
            patience,
            book: Mutex::new(Book::new(this.clone())),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.changed.notify_one();
        }
    }

    /// Adds a request, and begins to serve if nobody does.
    fn enter(self: &Arc<Self>, request: DeviceRequest) -> (Entry, oneshot::Receiver<Result<Placed>>) {
        let (give, given) = oneshot::channel();
        let mut book = self.book();
        let id = book.enter(request, give, Instant::now());
        self.waiting.store(book.requests.len(), Ordering::Release);
        let begins = book.serving.is_none();
        if begins {
            book.serving = Some(id);
        }
        // A runtime that is ending drops the task at once, which locks the book.
        drop(book);
        if begins {
            let serving = Serving { gpus: Arc::clone(self), number: id };
            tokio::spawn(async move { serving.gpus.serve().await });
        }
        self.changed.notify_one();
        (Entry { gpus: Arc::clone(self), id }, given)
    }

    async fn serve(self: &Arc<Self>) {
        loop {
            let this = Arc::clone(self);
            let measured = match tokio::task::spawn_blocking(move || this.measure()).await {
                Ok(measured) => measured,
                // A monitor of the host's own may panic. The next measurement may succeed.
                Err(error) if error.is_panic() && self.waiting.load(Ordering::Acquire) > 0 => {
                    tokio::time::sleep(TICK).await;
                    continue;
                }
                // The async runtime ends, or nobody waits any more.
                Err(_) => return,
            };
            let (acts, is_over) = {
                let mut book = self.book();
                let picture = book.picture(&measured, Instant::now(), self.patience);
                let acts = book.carry_out(plan(&picture), &measured, self.patience.refuses);
                self.waiting.store(book.requests.len(), Ordering::Release);
                if book.requests.is_empty() {
                    // Under the lock, so that a request which comes now starts another.
                    book.serving = None;
                }
                (acts, book.requests.is_empty())
            };
            // Without the lock, since pools have their own locks.
            acts.into_iter().for_each(book::Act::run);
            if is_over {
                return;
            }
            let _ = tokio::time::timeout(TICK, self.changed.notified()).await;
            // Calls of other plugins may end all the time.
            tokio::time::sleep(LEAST).await;
        }
    }

    /// Measures the machine, and what the instances hold of it. Blocks for some milliseconds.
    fn measure(&self) -> Measured {
        let instances = self.book().pools();
        let found = instances.into_iter().filter_map(|(id, pool, number)| Some((id, pool.upgrade()?, number)));
        let found: Vec<_> = found.collect();
        let pids = found.iter().map(|(id, pool, number)| (*id, pool.pids_of(*number))).collect();
        let gpus = self.monitor.snapshot().gpus;
        // As late as possible, since calls begin and end all the time.
        let uses = found.iter().map(|(id, pool, number)| (*id, pool.use_of(*number))).collect();
        let why_none = if gpus.is_empty() { self.monitor.why_no_gpu() } else { None };
        Measured { gpus, why_none, pids, uses }
    }
}

/// The error of a request that can never be granted; `why_none` says why the host finds no GPU, if that is known.
fn never(why: &Never, why_none: Option<&str>) -> PluginError {
    let (why_none, help) = match (why.is_without_any(), why_none) {
        (false, _) => (String::new(), "run it on a larger machine, or lower `resources` in its manifest"),
        (true, why_none) => (
            why_none.map_or_else(String::new, |why| format!(": {why}")),
            "each of `requires_gpu`, `min_gpu_vram_mb` and `gpus` in `resources` of its manifest asks for one",
        ),
    };
    PluginError::resource_exhausted(format!("no instance can start: {why}{why_none}")).with_help(help)
}

/// What the driver calls a GPU: its UUID, or its index if it has none.
fn identity(gpu: &Gpu) -> String {
    if gpu.uuid.is_empty() { gpu.index.to_string() } else { gpu.uuid.clone() }
}

#[async_trait]
impl Devices for GpuDevices {
    async fn place(&self, request: DeviceRequest) -> Result<Placed> {
        let plugin = Arc::clone(&request.plugin);
        let (entry, given) = self.0.enter(request);
        let placement = given.await;
        drop(entry);
        let placement = placement.unwrap_or_else(|_| Err(PluginError::unavailable("the host is ending")));
        placement.map_err(|error| error.with_plugin(&*plugin))
    }

    fn refusal(&self, need: DeviceNeed) -> Option<PluginError> {
        let totals = self.0.monitor.snapshot().gpus.iter().map(|gpu| gpu.memory_total_bytes).collect();
        let why = Never::of(totals, need.gpus as usize, need.bytes)?;
        let why_none = if why.is_without_any() { self.0.monitor.why_no_gpu() } else { None };
        Some(never(&why, why_none.as_deref()))
    }

    fn is_needed(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0
    }

    fn note_idle(&self) {
        self.0.note();
    }
}

/// The GPUs for the pools.
pub(super) struct GpuDevices(pub(super) Arc<Gpus>);
