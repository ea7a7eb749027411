//! What running calls have been promised, held against what the machine has.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Need;
use crate::monitor::{Monitor, SystemSnapshot};

/// Adds up the places of running calls.
pub(super) struct Ledger {
    monitor: Arc<dyn Monitor>,
    cpu_slots: u32,
    promised: Mutex<Promised>,
    /// Told whenever a place is given back.
    pub(super) released: Notify,
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
        self.ledger.promised.lock().unwrap_or_else(PoisonError::into_inner).take_back(self.promised);
        self.ledger.released.notify_waiters();
    }
}

impl Ledger {
    pub(super) fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Arc<Self> {
        let cpu_slots = cpu_slots.unwrap_or_else(|| monitor.snapshot().cpus).max(1);
        Arc::new(Self { monitor, cpu_slots, promised: Mutex::default(), released: Notify::new() })
    }

    /// Enters the need into the books, if it fits.
    pub(super) fn try_place(self: &Arc<Self>, need: &Need) -> Result<Place, Refusal> {
        // A call that asks for processor slots alone is not worth a look at the machine.
        let weighs = need.memory_bytes > 0 || need.gpu_memory_bytes > 0 || need.requires_gpu;
        let snapshot = weighs.then(|| self.monitor.snapshot());
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(need, &promised, snapshot.as_ref())?;
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
