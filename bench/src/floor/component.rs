//! A component called by bare wasmtime: no manager, no limits, no log, no deadlines.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod asynchronous {
    wasmtime::component::bindgen!({ path: "../wit", world: "plugin", exports: { default: async } });
}

mod synchronous {
    wasmtime::component::bindgen!({ path: "../wit", world: "plugin" });
}

/// How often the epoch advances; as in our own engine.
const TICK: Duration = Duration::from_millis(5);

/// An engine with pools, and what makes it advance its epoch.
pub struct Bare {
    engine: Engine,
    epochs: bool,
    ended: Arc<AtomicBool>,
}

impl Bare {
    /// With `epochs` a busy guest yields at each tick, as a host that shares threads needs it.
    pub fn new(epochs: bool) -> Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(epochs);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()));
        let engine = Engine::new(&config)?;
        let ended = Arc::new(AtomicBool::new(false));
        if epochs {
            let (engine, ended) = (engine.clone(), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            });
        }
        Ok(Self { engine, epochs, ended })
    }

    /// Compiles a component.
    pub fn compile(&self, path: &Path) -> Result<Component> {
        Ok(Component::from_file(&self.engine, path)?)
    }

    /// Compiles a component into a file for [`Bare::load`].
    pub fn compile_to(&self, path: &Path, file: &Path) -> Result<()> {
        Ok(std::fs::write(file, self.compile(path)?.serialize()?)?)
    }

    /// Maps a compiled component.
    #[allow(unsafe_code)]
    pub fn load(&self, file: &Path) -> Result<Component> {
        // SAFETY: `compile_to` wrote it, into a directory of ours.
        Ok(unsafe { Component::deserialize_file(&self.engine, file) }?)
    }

    /// For instances on asynchronous stores. What the component imports traps: the guests here call nothing.
    pub fn pre(&self, component: &Component) -> Result<asynchronous::PluginPre<()>> {
        Ok(asynchronous::PluginPre::new(self.linker(component)?.instantiate_pre(component)?)?)
    }

    /// For instances on synchronous stores.
    pub fn sync_pre(&self, component: &Component) -> Result<synchronous::PluginPre<()>> {
        Ok(synchronous::PluginPre::new(self.linker(component)?.instantiate_pre(component)?)?)
    }

    fn linker(&self, component: &Component) -> Result<Linker<()>> {
        let mut linker = Linker::new(&self.engine);
        linker.define_unknown_imports_as_traps(component)?;
        Ok(linker)
    }

    fn store(&self) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        if self.epochs {
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
        }
        store
    }

    /// Instantiates and initializes.
    pub async fn instance(&self, pre: &asynchronous::PluginPre<()>) -> Result<Instance> {
        let mut store = self.store();
        let plugin = pre.instantiate_async(&mut store).await?;
        let done = plugin.bivium_plugin_guest().call_initialize(&mut store, &"{}".to_owned()).await?;
        done.ok().context("the guest refused its configuration")?;
        Ok(Instance { store, plugin })
    }

    /// Instantiates and initializes.
    pub fn sync_instance(&self, pre: &synchronous::PluginPre<()>) -> Result<SyncInstance> {
        let mut store = self.store();
        let plugin = pre.instantiate(&mut store)?;
        let done = plugin.bivium_plugin_guest().call_initialize(&mut store, &"{}".to_owned())?;
        done.ok().context("the guest refused its configuration")?;
        Ok(SyncInstance { store, plugin })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// An instance on an asynchronous store.
pub struct Instance {
    store: Store<()>,
    plugin: asynchronous::Plugin,
}

impl Instance {
    /// The arguments as a JSON document in, the result as a value out.
    pub async fn execute(&mut self, text: &str) -> Result<Value> {
        use asynchronous::exports::bivium::plugin::guest::Payload;
        let input = Payload { json: json!({"text": text}).to_string(), blobs: Vec::new() };
        let guest = self.plugin.bivium_plugin_guest();
        let output = guest.call_execute(&mut self.store, &"execute".to_owned(), &input).await?;
        Ok(serde_json::from_str(&output.ok().context("the guest failed")?.json)?)
    }
}

/// An instance on a synchronous store.
pub struct SyncInstance {
    store: Store<()>,
    plugin: synchronous::Plugin,
}

impl SyncInstance {
    /// As [`Instance::execute`].
    pub fn execute(&mut self, text: &str) -> Result<Value> {
        use synchronous::exports::bivium::plugin::guest::Payload;
        let input = Payload { json: json!({"text": text}).to_string(), blobs: Vec::new() };
        let guest = self.plugin.bivium_plugin_guest();
        let output = guest.call_execute(&mut self.store, &"execute".to_owned(), &input)?;
        Ok(serde_json::from_str(&output.ok().context("the guest failed")?.json)?)
    }
}
