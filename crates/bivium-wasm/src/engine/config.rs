//! [`WasmConfig`]: the size of the engine's pools, the limits of compiling, and the cache of compiled components.

use std::path::PathBuf;
use std::sync::Arc;

use bivium_interface::Result;

use crate::capability::network::{NetworkConfig, Resolver};
use crate::compile::{CacheUsage, Compiler, Loader};
use crate::settings::Pools;

/// Settings of a [`WasmEngine`](super::WasmEngine). The defaults suit a host of some hundred plugins on a 64-bit machine.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    instances: u32,
    pooling: bool,
    compile_memory_bytes: u64,
    compiler: Compiler,
    cache: CacheDir,
    cache_bytes: u64,
    network: NetworkConfig,
}

/// The directory of the cache.
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
            network: NetworkConfig::default(),
        }
    }
}

impl WasmConfig {
    /// The defaults: 256 instances, pooling, and 1 GiB of compiled components in the platform's cache directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many component instances of all plugins together may exist at once. Calls that need one more wait, under their deadlines. Each
    /// reserves 16 GiB of address space, but no memory.
    #[must_use]
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = instances.max(1);
        self
    }

    /// Whether memory for instances is reserved at the start (fast), or when each is made (needs less address space). An engine that finds
    /// too little address space uses the second way by itself.
    #[must_use]
    pub fn pooling(mut self, pooling: bool) -> Self {
        self.pooling = pooling;
        self
    }

    /// How much memory compiling one component may take, in bytes. Only a compiler in a child process is limited by it.
    #[must_use]
    pub fn compile_memory_bytes(mut self, bytes: u64) -> Self {
        self.compile_memory_bytes = bytes;
        self
    }

    /// Where components are compiled; the default is this process. A host of components that it does not trust should set a
    /// [`Compiler::Child`].
    #[must_use]
    pub fn compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// Stores compiled components in `dir`, in place of the platform's cache directory. They lie in its subdirectory `components`, which is
    /// made for this user alone. If other users have access to it, it is not used.
    #[must_use]
    pub fn cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache = CacheDir::Given(dir.into());
        self
    }

    /// Compiles at each load and stores nothing.
    #[must_use]
    pub fn no_cache(mut self) -> Self {
        self.cache = CacheDir::None;
        self
    }

    /// How many bytes of compiled components are kept; the least recently used ones are removed first. A component with an interpreter in
    /// it takes some 35 MB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Resolves the host names that plugins connect to, in place of the machine's resolver.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.network = self.network.with_resolver(Arc::new(resolver));
        self
    }

    /// Trusts the certificate authorities in this PEM file for the https requests of plugins, in place of the machine's.
    #[must_use]
    pub fn certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.network = self.network.with_certificates(file.into());
        self
    }

    pub(crate) fn network(&self) -> &NetworkConfig {
        &self.network
    }

    pub(crate) fn compile_memory(&self) -> u64 {
        self.compile_memory_bytes
    }

    /// The content of the cache of compiled components, if there is one. Blocks on the file system.
    #[must_use]
    pub fn cache_usage(&self) -> Option<CacheUsage> {
        self.loader().usage()
    }

    /// Empties the cache of compiled components, and returns what it held. Running hosts keep what they have loaded. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// `unavailable` while a host compiles a component into it; `denied` or `internal` if it cannot be emptied.
    pub fn clear_cache(&self) -> Result<Option<CacheUsage>> {
        self.loader().clear()
    }

    pub(super) fn loader(&self) -> Loader {
        let platform = || Some(directories::ProjectDirs::from("", "", "bivium")?.cache_dir().to_owned());
        let dir = match &self.cache {
            CacheDir::Platform => platform(),
            CacheDir::Given(dir) => Some(dir.clone()),
            CacheDir::None => None,
        };
        let dir = dir.map(|dir| dir.join("components"));
        Loader::new(dir.as_deref().map(|dir| (dir, self.cache_bytes)), self.compiler.clone())
    }

    /// The sizes of the pools, if they are used.
    pub(super) fn pools(&self) -> Pools {
        Pools::of(self.instances)
    }

    pub(super) fn is_pooling(&self) -> bool {
        self.pooling
    }
}
