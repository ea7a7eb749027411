//! [`WasmEngine`]: a host's wasmtime engine, its linker and its ticker.
//!
//! All components of a host share it: the pools of memory and stacks, the epoch that makes busy guests yield, and the linker with
//! everything that a component may import. It does not know the plugins.

mod config;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_instances::Capacity;
use bivium_interface::manifest::Limits;
use bivium_interface::{PluginError, Result};
use wasmtime::Engine;
use wasmtime::component::Linker;

pub use config::WasmConfig;

use crate::compile::{CacheUsage, Loader};
use crate::settings::{self, EngineKind};
use crate::state::HostState;
use crate::store::Ticker;
use crate::{wasi, world};

/// A host's wasmtime engine. Cheap to clone; clones are the same engine. Its ticker thread ends when the last clone, and the last
/// component made with it, are dropped.
#[derive(Clone)]
pub struct WasmEngine(Arc<EngineState>);

struct EngineState {
    engine: Engine,
    linker: Linker<HostState>,
    config: WasmConfig,
    pooling: bool,
    loader: Loader,
    capacity: Arc<Capacity>,
    ticker: Arc<Ticker>,
    /// Held by every store.
    stores: Arc<()>,
    kind: EngineKind,
    /// Engines of other kinds, each made for the first plugin that needs it.
    others: Mutex<Vec<WasmEngine>>,
}

impl WasmEngine {
    /// Reserves the pools, builds the linker and starts the ticker. If there is too little address space for the pools, instances are made
    /// on demand, and a warning says so.
    ///
    /// # Errors
    /// `internal` if wasmtime does not support the machine, no thread can be started, or for a similar error.
    pub fn new(config: WasmConfig) -> Result<Self> {
        let loader = config.loader();
        Self::make(config, loader, EngineKind::default())
    }

    fn make(config: WasmConfig, loader: Loader, kind: EngineKind) -> Result<Self> {
        let (engine, pooling) = settings::start(config.is_pooling().then(|| config.pools()), kind)?;
        let linker =
            link(&engine).map_err(|error| PluginError::internal(format!("cannot build the linker: {error:#}")))?;
        let capacity = config.pools().capacity(pooling);
        let ticker = Arc::new(Ticker::start(&engine)?);
        let (stores, others) = (Arc::default(), Mutex::default());
        Ok(Self(Arc::new(EngineState {
            engine,
            linker,
            config,
            pooling,
            loader,
            capacity,
            ticker,
            stores,
            kind,
            others,
        })))
    }

    /// The engine of the same host for a plugin with these limits: with fuel if the plugin has some, and with the stack that it needs.
    pub(crate) fn for_limits(&self, limits: &Limits) -> Result<Self> {
        let kind = EngineKind::of(limits);
        if kind == self.0.kind {
            return Ok(self.clone());
        }
        let mut others = self.others();
        if let Some(other) = others.iter().find(|other| other.0.kind == kind) {
            return Ok(other.clone());
        }
        let engine = Self::make(self.0.config.clone(), self.0.loader.clone(), kind)?;
        others.push(engine.clone());
        Ok(engine)
    }

    fn others(&self) -> MutexGuard<'_, Vec<Self>> {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many component instances exist now.
    #[must_use]
    pub fn instances(&self) -> usize {
        Arc::strong_count(&self.0.stores) - 1 + self.others().iter().map(Self::instances).sum::<usize>()
    }

    /// Counts one more instance until the returned value is dropped.
    pub(crate) fn count_store(&self) -> Arc<()> {
        Arc::clone(&self.0.stores)
    }

    /// Whether instances come from pools.
    #[must_use]
    pub fn is_pooling(&self) -> bool {
        self.0.pooling
    }

    /// The content of the cache of compiled components, if there is one.
    #[must_use]
    pub fn cache(&self) -> Option<CacheUsage> {
        self.0.loader.usage()
    }

    pub(crate) fn wasmtime(&self) -> &Engine {
        &self.0.engine
    }

    /// The capacity that its instances share.
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.0.capacity
    }

    pub(crate) fn ticker(&self) -> &Arc<Ticker> {
        &self.0.ticker
    }

    pub(crate) fn linker(&self) -> &Linker<HostState> {
        &self.0.linker
    }

    /// The loader of compiled components.
    pub(crate) fn loader(&self) -> &Loader {
        &self.0.loader
    }

    pub(crate) fn config(&self) -> &WasmConfig {
        &self.0.config
    }
}

fn link(engine: &Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    world::add_to_linker(&mut linker)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
