//! The scheduler: when a call may start, given processor slots, host memory and GPU memory.

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

/// What one call needs over what its plugin holds already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// The plugin, for messages.
    pub plugin: String,
    /// Processor slots; 0 unless the plugin's manifest asks for them (`resources.cpu_slots`).
    pub cpu_slots: u32,
    /// Host memory in bytes.
    pub memory_bytes: u64,
    /// GPU memory in bytes, on one GPU.
    pub gpu_memory_bytes: u64,
    /// Whether there must be a GPU at all.
    pub requires_gpu: bool,
    /// The plugin's processes. What they take of the memory while the call runs is not to be kept free for it as well.
    pub pids: Vec<u32>,
    /// Host memory in bytes that these processes were seen to hold.
    pub held_bytes: u64,
    /// GPU memory in bytes that they were seen to hold.
    pub held_gpu_bytes: u64,
}

impl Need {
    /// What a manifest asks for a call, less what the plugin's instances hold.
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

    /// Whether it asks for nothing: the capacity of the plugin alone is the bound of its calls.
    fn is_nothing(&self) -> bool {
        self.cpu_slots == 0 && !self.concerns_memory()
    }

    /// Whether it takes a look at the machine to say whether it fits.
    fn concerns_memory(&self) -> bool {
        self.asks_for_memory() || self.requires_gpu
    }
}

/// Decides when a call may start. A host may bring its own policy.
#[async_trait]
pub trait Scheduler: Send + Sync + 'static {
    /// Waits until the call may start, and gives what keeps its place; or refuses it with `resource-exhausted`.
    /// Must end soon after the call is interrupted.
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission>;

    /// Admits a call at once, where what the policy knows leaves no doubt that it fits. What `need` says of the plugin may be some
    /// 250 ms old. Must not block. Where it gives none, the plugin is weighed again and the call comes to [`admit`](Self::admit).
    fn admit_at_once(&self, _need: &Need) -> Option<Admission> {
        None
    }

    /// Whether the policy looks at memory. Where it does not, nobody measures what a plugin holds.
    fn weighs_memory(&self) -> bool {
        true
    }
}
