//! [`WasmConfig`]: how large the engine's pools are and what one component may weigh.

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits;

/// Sizes of a [`WasmEngine`](super::WasmEngine). The defaults suit a host of some hundred plugins on a 64-bit machine.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    instances: u32,
    pooling: bool,
    max_component_bytes: u64,
}

impl Default for WasmConfig {
    fn default() -> Self {
        // The largest components in common use, an interpreter compiled in, are 12 to 18 MB.
        Self { instances: 256, pooling: true, max_component_bytes: 64 << 20 }
    }
}

impl WasmConfig {
    /// The defaults: 256 instances, pooling, components of up to 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many component instances of all plugins together may live at once. Each sets aside 8 GiB of address
    /// space, but no memory.
    #[must_use]
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = instances.max(1);
        self
    }

    /// Whether memory for instances is set aside at the start (fast) or made for each (works in a short address
    /// space). An engine that finds the address space too short goes over to the second by itself.
    #[must_use]
    pub fn pooling(mut self, pooling: bool) -> Self {
        self.pooling = pooling;
        self
    }

    /// The largest component file that is loaded, in bytes.
    #[must_use]
    pub fn max_component_bytes(mut self, bytes: u64) -> Self {
        self.max_component_bytes = bytes;
        self
    }

    pub(crate) fn component_bytes(&self) -> u64 {
        self.max_component_bytes
    }

    pub(super) fn is_pooling(&self) -> bool {
        self.pooling
    }

    pub(super) fn engine_config(&self, pooling: bool) -> Config {
        let mut config = Config::new();
        config.epoch_interruption(true).memory_init_cow(true);
        if pooling {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(self.pools()));
        }
        config
    }

    /// Pools such that components with an interpreter compiled in fit: these consist of some dozen core modules with
    /// tables of tens of thousands of elements.
    fn pools(&self) -> PoolingAllocationConfig {
        const INSTANCE_BYTES: usize = 4 << 20;
        let mut pools = PoolingAllocationConfig::new();
        pools
            .total_component_instances(self.instances)
            .total_stacks(self.instances)
            .total_core_instances(self.instances.saturating_mul(25))
            .total_memories(self.instances.saturating_mul(2))
            .total_tables(self.instances.saturating_mul(8))
            .max_core_instances_per_component(limits::INSTANCES)
            .max_memories_per_component(limits::MEMORIES)
            .max_tables_per_component(limits::TABLES)
            .max_tables_per_module(8)
            .table_elements(limits::TABLE_ELEMENTS)
            .max_component_instance_size(INSTANCE_BYTES)
            .max_core_instance_size(INSTANCE_BYTES);
        pools
    }
}
