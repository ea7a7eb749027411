//! Calls a component with bare wasmtime: no manager, no limits, no log, no deadlines.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use wasmtime::component::{Component, Linker, ResourceAny, ResourceType};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod asynchronous {
    wasmtime::component::bindgen!({ path: "../wit", world: "plugin", exports: { default: async } });
}

mod synchronous {
    wasmtime::component::bindgen!({ path: "../wit", world: "plugin" });
}

/// How often the epoch advances, as in our own engine.
const TICK: Duration = Duration::from_millis(5);

/// An engine with pools, and the thread that advances its epoch.
pub struct Bare {
    engine: Engine,
    epochs: bool,
    ended: Arc<AtomicBool>,
}

impl Bare {
    /// With `epochs`, a busy guest yields at each tick, which a host with shared threads needs.
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
        // SAFETY: `compile_to` wrote it, into a directory of this program.
        Ok(unsafe { Component::deserialize_file(&self.engine, file) }?)
    }

    /// The linker for instances on asynchronous stores. All imports trap, because the guests here call none.
    pub fn linker(&self, component: &Component) -> Result<AsyncLinker> {
        use asynchronous::bivium::plugin::blobs::{Blob, BlobWriter};
        Ok(AsyncLinker(self.traps::<Blob, BlobWriter>(component)?))
    }

    /// For instances on asynchronous stores.
    pub fn pre(&self, component: &Component) -> Result<AsyncPre> {
        self.linker(component)?.pre(component)
    }

    /// For instances on synchronous stores.
    pub fn sync_pre(&self, component: &Component) -> Result<SyncPre> {
        use synchronous::bivium::plugin::blobs::{Blob, BlobWriter};
        let linker = self.traps::<Blob, BlobWriter>(component)?;
        Ok(SyncPre::new(linker.instantiate_pre(component)?)?)
    }

    fn traps<Blob: 'static, BlobWriter: 'static>(&self, component: &Component) -> Result<Linker<()>> {
        let mut linker = Linker::new(&self.engine);
        let mut blobs = linker.instance("bivium:plugin/blobs@0.1.0")?;
        blobs.resource("blob", ResourceType::host::<Blob>(), |_, _| Ok(()))?;
        blobs.resource("blob-writer", ResourceType::host::<BlobWriter>(), |_, _| Ok(()))?;
        // The only import that guests here use: they report their progress.
        linker.instance("bivium:plugin/host@0.1.0")?.func_new("log", |_, _, _, _| Ok(()))?;
        linker.define_unknown_imports_as_traps(component)?;
        Ok(linker)
    }

    pub(super) fn store(&self) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        if self.epochs {
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
        }
        store
    }

    /// Instantiates and initializes.
    pub async fn instance(&self, pre: &AsyncPre) -> Result<Instance> {
        let mut store = self.store();
        let plugin = pre.instantiate_async(&mut store).await?;
        let done = plugin.bivium_plugin_guest().call_initialize(&mut store, &"{}".to_owned()).await?;
        done.ok().context("the guest refused its configuration")?;
        Ok(Instance { store, plugin })
    }

    /// Instantiates and initializes.
    pub fn sync_instance(&self, pre: &SyncPre) -> Result<SyncInstance> {
        let mut store = self.store();
        let plugin = pre.instantiate(&mut store)?;
        let done = plugin.bivium_plugin_guest().call_initialize(&mut store, &"{}".to_owned())?;
        done.ok().context("the guest refused its configuration")?;
        Ok(SyncInstance { store, plugin })
    }
}

/// See [`Bare::linker`].
pub struct AsyncLinker(Linker<()>);

impl AsyncLinker {
    /// For instances of this component.
    pub fn pre(&self, component: &Component) -> Result<AsyncPre> {
        Ok(AsyncPre::new(self.0.instantiate_pre(component)?)?)
    }
}

pub type AsyncPre = asynchronous::PluginPre<()>;
pub type SyncPre = synchronous::PluginPre<()>;

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

/// The arguments as one JSON document.
macro_rules! payload {
    ($world:ident, $arguments:expr) => {
        $world::exports::bivium::plugin::guest::Payload { json: $arguments.to_string(), blobs: Vec::new() }
    };
}

impl Instance {
    /// Calls with the arguments as a JSON document and returns the result as a value.
    pub async fn execute(&mut self, arguments: &Value) -> Result<Value> {
        let guest = self.plugin.bivium_plugin_guest();
        let (method, input) = ("execute".to_owned(), payload!(asynchronous, arguments));
        let output = guest.call_execute(&mut self.store, &method, &input).await?;
        Ok(serde_json::from_str(&output.ok().context("the guest failed")?.json)?)
    }

    /// Starts a stream.
    pub async fn stream(&mut self, method: &str, arguments: &Value) -> Result<ResourceAny> {
        let guest = self.plugin.bivium_plugin_guest();
        let (method, input) = (method.to_owned(), payload!(asynchronous, arguments));
        let stream = guest.call_execute_stream(&mut self.store, &method, &input).await?;
        stream.ok().context("the guest failed")
    }

    /// The stream's next result; `None` at its end.
    pub async fn next(&mut self, stream: ResourceAny) -> Result<Option<Value>> {
        let guest = self.plugin.bivium_plugin_guest().payload_stream();
        let next = guest.call_next(&mut self.store, stream).await?.ok().context("the guest failed")?;
        next.map(|payload| Ok(serde_json::from_str(&payload.json)?)).transpose()
    }

    /// Drops a stream.
    pub async fn drop_stream(&mut self, stream: ResourceAny) -> Result<()> {
        Ok(stream.resource_drop_async(&mut self.store).await?)
    }
}

/// An instance on a synchronous store.
pub struct SyncInstance {
    store: Store<()>,
    plugin: synchronous::Plugin,
}

impl SyncInstance {
    /// As [`Instance::execute`].
    pub fn execute(&mut self, arguments: &Value) -> Result<Value> {
        let guest = self.plugin.bivium_plugin_guest();
        let (method, input) = ("execute".to_owned(), payload!(synchronous, arguments));
        let output = guest.call_execute(&mut self.store, &method, &input)?;
        Ok(serde_json::from_str(&output.ok().context("the guest failed")?.json)?)
    }
}
