//! [`Resources`]: what the machine must have for a plugin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

/// What the machine must have for the plugin. The scheduler uses it to admit calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Resources {
    /// Whether it needs a GPU.
    pub requires_gpu: bool,
    /// GPU memory that each of its instances needs, in MiB, on each of its GPUs.
    #[schemars(range(max = 16_777_216))]
    pub min_gpu_vram_mb: Option<u64>,
    /// How many GPUs each of its instances needs; by default 1 if it needs any.
    #[schemars(range(min = 1, max = 64))]
    pub gpus: Option<u32>,
    /// Free host memory that it needs, in MiB.
    #[schemars(range(max = 16_777_216))]
    pub min_system_ram_mb: Option<u64>,
    /// Processor slots that a call occupies, for plugins that compute. By default a host has one slot for each logical processor.
    #[schemars(range(max = 4096))]
    pub cpu_slots: Option<u32>,
    /// Operating systems on which it runs. Empty means all.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub platforms: Vec<String>,
    /// Accelerators that it can use.
    #[schemars(with = "Vec<text::Label>", length(max = 64))]
    pub accelerators: Vec<String>,
}

impl Resources {
    /// How many GPUs each instance needs; 0 if it needs none.
    #[must_use]
    pub fn gpus(&self) -> u32 {
        let needs_one = self.requires_gpu || self.min_gpu_vram_mb.is_some_and(|mb| mb > 0);
        self.gpus.unwrap_or(u32::from(needs_one))
    }
}
