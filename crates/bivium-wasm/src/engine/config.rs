//! [`WasmConfig`]: how large the engine's pools are, what compiling may take, and where compiled ones lie.

use std::path::PathBuf;
use std::sync::Arc;

use bivium_instances::Room;
use bivium_interface::Result;
use rustix::process::{Resource, getrlimit};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::Kind;
use crate::compile::{CacheUsage, Compiler, Workshop};
use crate::network::{Outside, Resolver};
use crate::store::limits;

/// Sizes of a [`WasmEngine`](super::WasmEngine). The defaults suit a host of some hundred plugins on a 64-bit machine.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    instances: u32,
    pooling: bool,
    compile_memory_bytes: u64,
    compiler: Compiler,
    cache: CacheDir,
    cache_bytes: u64,
    outside: Outside,
}

/// Where the memory of instances comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// From pools: addresses are set aside for all instances at the start.
    Pooled,
    /// Each memory sets aside the addresses that it may ever have.
    OnDemand,
    /// Each memory has the addresses that it has, and moves when it grows. Its code checks each access and is slower.
    Short,
}

impl Memory {
    /// Under this one counts gigabytes of addresses: the four that a memory sets aside, and the program's own.
    const SHORT: u64 = 64 << 30;

    /// What to do without pools here.
    pub(super) fn without_pools() -> Self {
        match getrlimit(Resource::As).current {
            Some(limit) if limit < Self::SHORT => Self::Short,
            _ => Self::OnDemand,
        }
    }
}

/// Where compiled components lie.
#[derive(Debug, Clone)]
enum CacheDir {
    Platform,
    Given(PathBuf),
    None,
}

impl Default for WasmConfig {
    fn default() -> Self {
        Self {
            instances: 256,
            pooling: true,
            compile_memory_bytes: 2 << 30,
            compiler: Compiler::default(),
            cache: CacheDir::Platform,
            cache_bytes: 1 << 30,
            outside: Outside::default(),
        }
    }
}

impl WasmConfig {
    /// The defaults: 256 instances, pooling, and 1 GiB of compiled components in the platform's cache directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many component instances of all plugins together may live at once; calls that need one more wait, under their
    /// deadlines. Each sets aside 16 GiB of address space, but no memory.
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

    /// How much memory compiling one component may take, in bytes. It holds for a compiler in a child process.
    #[must_use]
    pub fn compile_memory_bytes(mut self, bytes: u64) -> Self {
        self.compile_memory_bytes = bytes;
        self
    }

    /// Where components are compiled. In this process, unless said otherwise; a host of components that strangers
    /// wrote should name a [`Compiler::Child`].
    #[must_use]
    pub fn compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// Keeps compiled components in `dir`, in place of the platform's cache directory. They lie in its subdirectory
    /// `components`, which is made for this user alone; one that others can get at is not used.
    #[must_use]
    pub fn cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache = CacheDir::Given(dir.into());
        self
    }

    /// Compiles at each load and keeps nothing.
    #[must_use]
    pub fn no_cache(mut self) -> Self {
        self.cache = CacheDir::None;
        self
    }

    /// How many bytes of compiled components are kept; those that were not used for longest go first. A component
    /// with an interpreter compiled in has some 35 MB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Looks up the names of hosts that plugins connect to by this, in place of the machine's own way.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.outside = self.outside.with_resolver(Arc::new(resolver));
        self
    }

    /// Trusts the certificate authorities in this file of PEM, in place of the machine's, for the https requests of
    /// plugins.
    #[must_use]
    pub fn certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.outside = self.outside.with_certificates(file.into());
        self
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(crate) fn compile_memory(&self) -> u64 {
        self.compile_memory_bytes
    }

    /// What the cache of compiled components holds, if there is one. Blocks on the file system.
    #[must_use]
    pub fn cache_usage(&self) -> Option<CacheUsage> {
        self.workshop().usage()
    }

    /// Empties the cache of compiled components, and gives what it held. Hosts that run go on with what they have loaded. Blocks
    /// on the file system.
    ///
    /// # Errors
    /// `unavailable` while a host compiles a component into it; `denied` or `internal` if it cannot be emptied.
    pub fn clear_cache(&self) -> Result<Option<CacheUsage>> {
        self.workshop().clear()
    }

    pub(super) fn workshop(&self) -> Workshop {
        let platform = || Some(directories::ProjectDirs::from("", "", "bivium")?.cache_dir().to_owned());
        let dir = match &self.cache {
            CacheDir::Platform => platform(),
            CacheDir::Given(dir) => Some(dir.clone()),
            CacheDir::None => None,
        };
        let dir = dir.map(|dir| dir.join("components"));
        Workshop::new(dir.as_deref().map(|dir| (dir, self.cache_bytes)), self.compiler.clone())
    }

    pub(super) fn is_pooling(&self) -> bool {
        self.pooling
    }

    pub(super) fn engine_config(&self, memory: Memory, kind: Kind) -> Config {
        // What the host's own functions need of a stack, when a guest calls them.
        const HOST_STACK: usize = 1536 << 10;
        let mut config = Config::new();
        config.epoch_interruption(true).consume_fuel(kind.fuel).memory_init_cow(true).wasm_component_model_map(true);
        config.max_wasm_stack(kind.stack).async_stack_size(kind.stack + HOST_STACK);
        match memory {
            Memory::Pooled => {
                config.allocation_strategy(InstanceAllocationStrategy::Pooling(self.pools()));
            }
            Memory::OnDemand => {}
            Memory::Short => {
                config.memory_reservation(0).memory_reservation_for_growth(4 << 20).memory_guard_size(64 << 10);
            }
        }
        config
    }

    /// Pools such that every instance can be of a component with an interpreter compiled in, and one of any component that
    /// is taken. Measured: JavaScript in QuickJS has 13 core instances, 3 memories and 3 tables, Python 38, 1 and 2.
    fn memories(&self) -> u32 {
        self.instances.saturating_mul(3).max(limits::MEMORIES)
    }

    fn tables(&self) -> u32 {
        // The engine wants as many as one module may have.
        self.instances.saturating_mul(8).max(limits::PER_MODULE)
    }

    /// The room that pools have, or, without pools, for as many instances. Heaps are not in it: there is one for each instance.
    pub(super) fn room(&self, pooling: bool) -> Arc<Room> {
        let pools = pooling.then(|| [("memories", self.memories()), ("tables", self.tables())]);
        Room::new([("component instances", self.instances)].into_iter().chain(pools.into_iter().flatten()))
    }

    /// Memories and tables have addresses set aside. Core instances are only counted: by the limits of each instance, as
    /// everything else that a component may have.
    fn pools(&self) -> PoolingAllocationConfig {
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
