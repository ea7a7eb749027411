//! Settings of wasmtime's engine: what it counts, how much stack functions have, and where the memory of instances comes from.

use std::sync::Arc;

use bivium_instances::Capacity;
use bivium_interface::manifest::Limits;
use bivium_interface::{PluginError, Result};
use rustix::process::{Resource, getrlimit};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::store::limits;

/// What only an engine as a whole can have: plugins that need it share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Whether fuel is counted.
    fuel: bool,
    /// Stack of a guest's functions, in bytes.
    stack: usize,
}

impl Kind {
    /// What a plugin with these limits needs.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self { fuel: limits.fuel.is_some(), stack: limits::stack(limits) }
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

/// Where the memory of instances comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// From pools: addresses are set aside for all instances at the start.
    Pooled(Pools),
    /// Each memory sets aside the addresses that it may ever have.
    OnDemand,
    /// Each memory has the addresses that it has, and moves when it grows. Its code checks each access and is slower.
    Short,
}

impl Memory {
    /// Under this one counts gigabytes of addresses: the four that a memory sets aside, and the program's own.
    const SHORT: u64 = 64 << 30;

    /// What to do without pools here.
    fn without_pools() -> Self {
        match getrlimit(Resource::As).current {
            Some(limit) if limit < Self::SHORT => Self::Short,
            _ => Self::OnDemand,
        }
    }

    fn config(self, kind: Kind) -> Config {
        // What the host's own functions need of a stack, when a guest calls them.
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

    fn engine(self, kind: Kind) -> Result<Engine> {
        Engine::new(&self.config(kind))
            .map_err(|error| PluginError::internal(format!("cannot start the WebAssembly engine: {error:#}")))
    }
}

/// The sizes of the pools, such that every instance can be of a component with an interpreter compiled in, and one of any component
/// that is taken. Measured: JavaScript in QuickJS has 13 core instances, 3 memories and 3 tables, Python 38, 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pools {
    instances: u32,
}

impl Pools {
    /// For so many instances at once.
    pub(crate) fn of(instances: u32) -> Self {
        Self { instances }
    }

    fn memories(self) -> u32 {
        self.instances.saturating_mul(3).max(limits::MEMORIES)
    }

    fn tables(self) -> u32 {
        // The engine wants as many as one module may have.
        self.instances.saturating_mul(8).max(limits::PER_MODULE)
    }

    /// The room that pools have, or, without pools, for as many instances. Heaps are not in it: there is one for each instance.
    pub(crate) fn capacity(self, pooling: bool) -> Arc<Capacity> {
        let pools = pooling.then(|| [("memories", self.memories()), ("tables", self.tables())]);
        Capacity::new([("component instances", self.instances)].into_iter().chain(pools.into_iter().flatten()))
    }

    /// Memories and tables have addresses set aside. Core instances are only counted: by the limits of each instance, as
    /// everything else that a component may have.
    fn allocation(self) -> PoolingAllocationConfig {
        // No bound of its own: what an instance may take is looked at before it is compiled.
        const INSTANCE_BYTES: usize = 1 << 30;
        let mut pools = PoolingAllocationConfig::new();
        pools
            .total_component_instances(self.instances)
            .total_stacks(self.instances)
            .total_core_instances(u32::MAX)
            // Each instance may have a heap with a garbage collector besides, which lies in one of these.
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

/// Starts an engine. Whether it has its pools is said beside it: where the address space is too short, it has none.
pub(crate) fn start(pools: Option<Pools>, kind: Kind) -> Result<(Engine, bool)> {
    if let Some(pools) = pools {
        match Engine::new(&Memory::Pooled(pools).config(kind)) {
            Ok(engine) => return Ok((engine, true)),
            Err(error) => tracing::warn!(
                "no room for pools of component memory, instances are made on demand and start slower \
                 (raise the limit of address space, or lower `WasmConfig::instances`): {error:#}"
            ),
        }
    }
    Ok((Memory::without_pools().engine(kind)?, false))
}

/// Engines that compile for others and run nothing, one for each setting that shows in the code. Pools and stacks do not.
pub(crate) fn to_compile() -> impl Iterator<Item = Result<Engine>> {
    let settings = [Memory::OnDemand, Memory::Short].into_iter().flat_map(|memory| [(memory, false), (memory, true)]);
    settings.map(|(memory, fuel)| memory.engine(Kind { fuel, ..Kind::default() }))
}
