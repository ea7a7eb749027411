//! [`Need`]: what one call needs of the machine.

use bivium_interface::manifest::Resources;

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

    pub(super) fn memory(&self) -> Memory {
        Memory { host: self.memory_bytes, gpu: self.gpu_memory_bytes }
    }

    pub(super) fn asks_for_memory(&self) -> bool {
        self.memory_bytes > 0 || self.gpu_memory_bytes > 0
    }

    /// Whether the call asks for nothing, so that only the plugin's own capacity limits its calls.
    pub(super) fn is_nothing(&self) -> bool {
        self.cpu_slots == 0 && !self.concerns_memory()
    }

    /// Whether the machine must be measured to decide whether the need fits.
    pub(super) fn concerns_memory(&self) -> bool {
        self.asks_for_memory() || self.requires_gpu
    }
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
