//! The one place that asks which runtime a plugin has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_instances::PluginLog;
use bivium_interface::manifest::Runtime;
use bivium_interface::{Manifest, PluginInterface, Result};
use bivium_remote::RemotePluginProxy;
use bivium_wasm::{WasmConfig, WasmEngine};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Makes plugins from manifests, and holds what they share: the exchange and the WebAssembly engine.
pub(crate) struct Constructor {
    exchange: Exchange,
    /// Made with the first component: a host without components does without.
    engine: OnceCell<WasmEngine>,
    wasm: WasmConfig,
    /// Where made environments lie; none means the platform's cache directory.
    environments: Option<PathBuf>,
}

impl Constructor {
    pub(crate) fn new(exchange: Exchange, wasm: WasmConfig, environments: Option<PathBuf>) -> Self {
        Self { exchange, engine: OnceCell::new(), wasm, environments }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Makes the plugin, without a configuration and without a running instance.
    pub(crate) async fn construct(&self, manifest: &Arc<Manifest>, log: PluginLog) -> Result<Arc<dyn PluginInterface>> {
        let plugin: Result<Arc<dyn PluginInterface>> = match manifest.runtime {
            Runtime::Wasm => {
                let engine = self.engine.get_or_try_init(|| async { WasmEngine::new(self.wasm.clone()) }).await?;
                let plugin = bivium_wasm::load(engine, manifest, &self.exchange, log).await;
                plugin.map(|plugin| Arc::new(plugin) as Arc<dyn PluginInterface>)
            }
            Runtime::Python => {
                let plugin = RemotePluginProxy::load(manifest, &self.exchange, log, self.environments.as_deref()).await;
                plugin.map(|plugin| Arc::new(plugin) as Arc<dyn PluginInterface>)
            }
        };
        plugin.map_err(|error| error.with_plugin(&manifest.name))
    }
}

/// One plugin without a manager: constructed from its manifest and configured, with an exchange of its own. The
/// configuration is applied as it is. Call `cleanup` when done; dropping the plugin frees what it holds, too.
///
/// # Errors
/// `not-found`, `invalid-manifest`, and whatever keeps the plugin from starting.
pub async fn open(manifest: &Path, config: Value) -> Result<Arc<dyn PluginInterface>> {
    let manifest = Arc::new(crate::discovery::read_plugin(manifest)?);
    let constructor = Constructor::new(Exchange::open()?, WasmConfig::default(), None);
    let plugin = constructor.construct(&manifest, PluginLog::new(&manifest.name)).await?;
    plugin.initialize(config).await?;
    Ok(plugin)
}
