//! Settings of wasmtime's engine: what it counts, the stack of functions, and the source of instances' memory.

use std::sync::Arc;

use bivium_instances::Capacity;
use bivium_interface::manifest::Limits;
use bivium_interface::{PluginError, Result};
use rustix::process::{Resource, getrlimit};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::store::limits;

/// Settings that apply to a whole engine: plugins with the same settings share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EngineKind {
    /// Whether the engine counts fuel.
    fuel: bool,
    /// Stack of a guest's functions, in bytes.
    stack: usize,
}

impl EngineKind {
    /// The settings for a plugin with these limits.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self { fuel: limits.fuel.is_some(), stack: limits::stack(limits) }
    }
}

impl Default for EngineKind {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

/// How the memory of instances is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemorySource {
    /// From pools: address space is reserved for all instances at the start.
    Pooled(Pools),
    /// Each memory reserves the address space that it may ever need.
    OnDemand,
    /// Each memory has only the address space that it uses, and moves when it grows. The code checks each access and is slower.
    Short,
}

impl MemorySource {
    /// A limit of address space below this is short: a memory reserves 4 GiB, and the program needs some itself.
    const SHORT: u64 = 64 << 30;

    /// How to allocate without pools on this machine.
    fn without_pools() -> Self {
        match getrlimit(Resource::As).current {
            Some(limit) if limit < Self::SHORT => Self::Short,
            _ => Self::OnDemand,
        }
    }

    fn config(self, kind: EngineKind) -> Config {
        // The stack that the host's own functions need when a guest calls them.
        const HOST_STACK: usize = 1536 << 10;
        let mut config = Config::new();
        config.epoch_interruption(true).consume_fuel(kind.fuel).memory_init_cow(true).wasm_component_model_map(true);
        config.max_wasm_stack(kind.stack).async_stack_size(kind.stack + HOST_STACK);
        match self {
            Self::Pooled(pools) => {
                config.allocation_strategy(InstanceAllocationStrategy::Pooling(pools.allocation()));
            }
            Self::OnDemand => {}
            Self::Short => {
                config.memory_reservation(0).memory_reservation_for_growth(4 << 20).memory_guard_size(64 << 10);
            }
        }
        config
    }

    fn engine(self, kind: EngineKind) -> Result<Engine> {
        Engine::new(&self.config(kind))
            .map_err(|error| PluginError::internal(format!("cannot start the WebAssembly engine: {error:#}")))
    }
}

/// The sizes of the pools. Every instance can be a component with an interpreter in it, and one instance can be any component that is
/// accepted. Measured: JavaScript in QuickJS has 13 core instances, 3 memories and 3 tables; Python has 38, 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pools {
    instances: u32,
}

impl Pools {
    /// For this many instances at once.
    pub(crate) fn of(instances: u32) -> Self {
        Self { instances }
    }

    fn memories(self) -> u32 {
        self.instances.saturating_mul(3).max(limits::MEMORIES)
    }

    fn tables(self) -> u32 {
        // The engine needs at least as many as one module may have.
        self.instances.saturating_mul(8).max(limits::PER_MODULE)
    }

    /// The capacity of the pools; without pools only the number of instances. Heaps are not counted, since there is one for each instance.
    pub(crate) fn capacity(self, pooling: bool) -> Arc<Capacity> {
        let pools = pooling.then(|| [("memories", self.memories()), ("tables", self.tables())]);
        Capacity::new([("component instances", self.instances)].into_iter().chain(pools.into_iter().flatten()))
    }

    /// The pools reserve address space for memories and tables. Core instances, and everything else that a component may have, are only
    /// counted, by the limits of each instance.
    fn allocation(self) -> PoolingAllocationConfig {
        // No limit here: the size of an instance is checked before it is compiled.
        const INSTANCE_BYTES: usize = 1 << 30;
        let mut pools = PoolingAllocationConfig::new();
        pools
            .total_component_instances(self.instances)
            .total_stacks(self.instances)
            .total_core_instances(u32::MAX)
            // Each instance may also have a garbage-collected heap, which lies in one of these.
            .total_memories(self.memories().saturating_add(self.instances))
            .total_gc_heaps(self.instances)
            .total_tables(self.tables())
            .max_core_instances_per_component(u32::MAX)
            .max_memories_per_component(u32::MAX)
            .max_tables_per_component(u32::MAX)
            .max_memories_per_module(limits::PER_MODULE)
            .max_tables_per_module(limits::PER_MODULE)
            .table_elements(limits::TABLE_ELEMENTS)
            .max_component_instance_size(INSTANCE_BYTES)
            .max_core_instance_size(INSTANCE_BYTES);
        pools
    }
}

/// Starts an engine, and returns whether it has pools: it has none if there is too little address space.
pub(crate) fn start(pools: Option<Pools>, kind: EngineKind) -> Result<(Engine, bool)> {
    if let Some(pools) = pools {
        match Engine::new(&MemorySource::Pooled(pools).config(kind)) {
            Ok(engine) => return Ok((engine, true)),
            Err(error) => tracing::warn!(
                "not enough address space for pools of component memory; instances are made on demand and start slower \
                 (raise the limit of address space, or lower `WasmConfig::instances`): {error:#}"
            ),
        }
    }
    Ok((MemorySource::without_pools().engine(kind)?, false))
}

/// Engines that only compile, one for each combination of settings that affects the code. Pools and stacks do not.
pub(crate) fn to_compile() -> impl Iterator<Item = Result<Engine>> {
    let settings =
        [MemorySource::OnDemand, MemorySource::Short].into_iter().flat_map(|memory| [(memory, false), (memory, true)]);
    settings.map(|(memory, fuel)| memory.engine(EngineKind { fuel, ..EngineKind::default() }))
}
