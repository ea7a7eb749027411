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
    /// The plugin's processes. Memory that they take while the call runs need not be kept free for the call as well.
    pub pids: Vec<u32>,
    /// Host memory that these processes used when they were measured, in bytes.
    pub held_bytes: u64,
}

impl Need {
    /// What a manifest asks for, minus what the plugin's instances already use.
    pub(crate) fn new(plugin: &str, resources: &Resources, pids: Vec<u32>, held_bytes: u64) -> Self {
        let mib = |mb: Option<u64>| mb.unwrap_or(0).saturating_mul(1 << 20);
        Self {
            plugin: plugin.to_owned(),
            cpu_slots: resources.cpu_slots.unwrap_or(0),
            memory_bytes: mib(resources.min_system_ram_mb).saturating_sub(held_bytes),
            pids,
            held_bytes,
        }
    }

    /// Whether the call asks for nothing, so that only the plugin's own capacity limits its calls.
    pub(crate) fn is_nothing(&self) -> bool {
        self.cpu_slots == 0 && !self.asks_for_memory()
    }

    /// Whether the machine must be measured to decide whether the need fits.
    pub(super) fn asks_for_memory(&self) -> bool {
        self.memory_bytes > 0
    }
}
