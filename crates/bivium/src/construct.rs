//! The one place that asks which runtime a plugin has.

use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_instances::{AuditSink, Auditor, PluginContext, PluginLog, Protected, Secrets};
use bivium_interface::manifest::Runtime;
use bivium_interface::{Granted, HostPolicy, LogLevel, LogSource, Manifest, PluginInterface, Result};
use bivium_remote::{RemotePluginProxy, WorkerPlaces};
use bivium_wasm::{Compilation, Description, WasmConfig, WasmEngine};
use tokio::sync::OnceCell;

/// Makes plugins from manifests, and holds what they share: the exchange and the WebAssembly engine.
pub(crate) struct Constructor {
    exchange: Exchange,
    /// Made with the first component: a host without components does without.
    engine: OnceCell<WasmEngine>,
    options: Options,
}

/// What a host chose for all its plugins.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) wasm: WasmConfig,
    pub(crate) places: WorkerPlaces,
    pub(crate) policy: HostPolicy,
    pub(crate) audit: Option<Arc<dyn AuditSink>>,
    pub(crate) secrets: Secrets,
}

impl Constructor {
    pub(crate) fn new(exchange: Exchange, options: Options) -> Self {
        Self { exchange, engine: OnceCell::new(), options }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// What the host's policy grants to a plugin.
    pub(crate) fn granted(&self, manifest: &Manifest) -> Granted {
        self.options.policy.grant(manifest)
    }

    fn context(&self, manifest: &Manifest, log: PluginLog) -> PluginContext {
        let granted = self.granted(manifest);
        for refusal in &granted.refused {
            log.push(LogLevel::Warn, LogSource::Host, 0, None, &refusal.to_string());
        }
        let audit = Auditor::new(&manifest.name, self.options.audit.clone(), log.clone());
        let audit = if granted.enforce { audit.enforced() } else { audit };
        let protected = self.options.places.protect(Protected::default());
        PluginContext { log, audit, granted: Arc::new(granted), secrets: self.options.secrets.clone(), protected }
    }

    async fn engine(&self) -> Result<&WasmEngine> {
        self.engine.get_or_try_init(|| async { WasmEngine::new(self.options.wasm.clone()) }).await
    }

    /// Compiles a plugin's component, and runs nothing.
    pub(crate) async fn compile(&self, manifest: &Manifest) -> Result<Compilation> {
        bivium_wasm::compile(self.engine().await?, manifest, &self.granted(manifest).limits).await
    }

    /// What a plugin's component says of itself; none of its code runs.
    pub(crate) async fn describe(&self, manifest: &Manifest) -> Result<Description> {
        bivium_wasm::describe(self.engine().await?, manifest, &self.granted(manifest).limits).await
    }

    /// Component instances that live now.
    pub(crate) fn component_instances(&self) -> usize {
        self.engine.get().map_or(0, WasmEngine::instances)
    }

    /// Makes the plugin, without a configuration and without a running instance.
    pub(crate) async fn construct(&self, manifest: &Arc<Manifest>, log: PluginLog) -> Result<Arc<dyn PluginInterface>> {
        let context = self.context(manifest, log);
        let plugin: Result<Arc<dyn PluginInterface>> = match manifest.runtime {
            Runtime::Wasm => {
                let plugin = bivium_wasm::load(self.engine().await?, manifest, &self.exchange, context).await;
                plugin.map(|plugin| Arc::new(plugin) as Arc<dyn PluginInterface>)
            }
            Runtime::Python => {
                let plugin = RemotePluginProxy::load(manifest, &self.exchange, context, &self.options.places).await;
                plugin.map(|plugin| Arc::new(plugin) as Arc<dyn PluginInterface>)
            }
        };
        plugin.map_err(|error| error.with_plugin(&manifest.name))
    }
}
