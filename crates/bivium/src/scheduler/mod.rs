//! The scheduler decides when a call may start, by processor slots, host memory and GPU memory.

mod ledger;
mod policy;
mod recent;

use async_trait::async_trait;
use bivium_interface::manifest::Resources;
use bivium_interface::{CallHandle, Result};

pub use bivium_interface::Admission;

use ledger::Memory;
pub use policy::{PermissiveScheduler, QueueScheduler, RefuseScheduler};
pub(crate) use recent::Age;

/// What one call needs in addition to what its plugin already uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// The plugin's name, for messages.
    pub plugin: String,
    /// Processor slots; 0 unless the plugin's manifest asks for them (`resources.cpu_slots`).
    pub cpu_slots: u32,
    /// Host memory in bytes.
    pub memory_bytes: u64,
    /// GPU memory in bytes, on one GPU.
    pub gpu_memory_bytes: u64,
    /// Whether there must be a GPU at all.
    pub requires_gpu: bool,
    /// The plugin's processes. Memory that they take while the call runs need not be kept free for the call as well.
    pub pids: Vec<u32>,
    /// Host memory that these processes used when they were measured, in bytes.
    pub held_bytes: u64,
    /// GPU memory that they used when they were measured, in bytes.
    pub held_gpu_bytes: u64,
}

impl Need {
    /// What a manifest asks for, minus what the plugin's instances already use.
    pub(crate) fn new(
        plugin: &str,
        resources: &Resources,
        pids: Vec<u32>,
        held_bytes: u64,
        held_gpu_bytes: u64,
    ) -> Self {
        let mib = |mb: Option<u64>| mb.unwrap_or(0).saturating_mul(1 << 20);
        Self {
            plugin: plugin.to_owned(),
            cpu_slots: resources.cpu_slots.unwrap_or(0),
            memory_bytes: mib(resources.min_system_ram_mb).saturating_sub(held_bytes),
            gpu_memory_bytes: mib(resources.min_gpu_vram_mb).saturating_sub(held_gpu_bytes),
            requires_gpu: resources.requires_gpu,
            pids,
            held_bytes,
            held_gpu_bytes,
        }
    }

    fn memory(&self) -> Memory {
        Memory { host: self.memory_bytes, gpu: self.gpu_memory_bytes }
    }

    fn asks_for_memory(&self) -> bool {
        self.memory_bytes > 0 || self.gpu_memory_bytes > 0
    }

    /// Whether the call asks for nothing, so that only the plugin's own capacity limits its calls.
    fn is_nothing(&self) -> bool {
        self.cpu_slots == 0 && !self.concerns_memory()
    }

    /// Whether the machine must be measured to decide whether the need fits.
    fn concerns_memory(&self) -> bool {
        self.asks_for_memory() || self.requires_gpu
    }
}

/// Decides when a call may start. A host may use its own implementation.
#[async_trait]
pub trait Scheduler: Send + Sync + 'static {
    /// Waits until the call may start and returns what holds its resources, or refuses it with `resource-exhausted`. Must end soon after
    /// the call is interrupted.
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission>;

    /// Admits a call at once if it surely fits. Measurements in `need` may be up to 250 ms old. Must not block. If it returns `None`, the
    /// plugin is measured again and the call is passed to [`admit`](Self::admit).
    fn admit_at_once(&self, _need: &Need) -> Option<Admission> {
        None
    }

    /// Whether the scheduler considers memory. If not, the memory of plugins is not measured.
    fn weighs_memory(&self) -> bool {
        true
    }
}
