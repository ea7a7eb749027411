//! Constructs plugins. Only this module distinguishes the runtimes, and knows which of them this host was built with.

use std::path::PathBuf;
use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_instances::{DeviceAccess, DeviceNeed, Devices, PluginContext, Protected};
#[cfg(not(all(feature = "wasm", feature = "python")))]
use bivium_interface::manifest::RuntimeKind;
use bivium_interface::manifest::{PythonPlugin, Runtime, WasmPlugin};
use bivium_interface::{ErrorCode, Granted, HostPolicy, LogLevel, Manifest, PluginError, PluginInterface, Result};
use bivium_records::{AuditSink, Auditor, PluginLog, Secrets};

use crate::policy_errors::PolicyErrors;

/// Makes plugins from manifests. Holds what they share: the exchange and the WebAssembly engine.
pub(crate) struct Constructor {
    exchange: Exchange,
    /// Created with the first component, because a host without components does not need it.
    #[cfg(feature = "wasm")]
    engine: tokio::sync::OnceCell<bivium_wasm::WasmEngine>,
    options: Options,
}

/// A host's settings for all its plugins.
#[derive(Clone, Default)]
pub(crate) struct Options {
    #[cfg(feature = "wasm")]
    pub(crate) wasm: bivium_wasm::WasmConfig,
    #[cfg(feature = "python")]
    pub(crate) places: bivium_worker::WorkerPlaces,
    #[cfg(feature = "cjm")]
    pub(crate) cjm: bivium_cjm::Places,
    /// The host's data directory.
    pub(crate) data: Option<PathBuf>,
    pub(crate) policy: HostPolicy,
    pub(crate) audit: Option<Arc<dyn AuditSink>>,
    pub(crate) secrets: Secrets,
    /// Places instances that need GPUs.
    pub(crate) devices: Option<Arc<dyn Devices>>,
    /// The log level that plugins are asked to use.
    pub(crate) log_level: Option<LogLevel>,
}

impl Options {
    /// The host's own directories, which plugins must not be granted.
    pub(crate) fn protected(&self) -> Protected {
        let protected = Protected::default().and(self.data.clone(), "the data of plugins");
        #[cfg(feature = "python")]
        let protected = self.places.protect(protected);
        #[cfg(feature = "cjm")]
        let protected = protected.and(self.cjm.data.clone(), "the data of plugins");
        protected
    }
}

impl Constructor {
    pub(crate) fn new(exchange: Exchange, options: Options) -> Self {
        #[cfg(feature = "cjm")]
        let options = {
            let mut options = options;
            options.cjm.host_data = options.data.clone().or_else(crate::data_dir::default_data_dir);
            options
        };
        Self {
            exchange,
            #[cfg(feature = "wasm")]
            engine: tokio::sync::OnceCell::new(),
            options,
        }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// What a plugin is granted by the host's policy.
    pub(crate) fn granted(&self, manifest: &Manifest) -> Granted {
        self.options.policy.grant(manifest)
    }

    /// Where the plugin's grants and denials are recorded.
    fn auditor(&self, manifest: &Manifest, log: &PluginLog) -> Auditor {
        Auditor::new(&manifest.name, self.options.audit.clone(), log.clone())
    }

    /// Records that a policy or a check of the manifest refuses to load the plugin, if that is what the error says.
    pub(crate) fn audit_refused_load(&self, manifest: &Manifest, log: &PluginLog, error: &PluginError) {
        if matches!(error.code(), ErrorCode::Denied | ErrorCode::InvalidManifest) {
            self.auditor(manifest, log).load_refused(manifest.path.display().to_string(), error);
        }
    }

    /// Makes the plugin's context, and records what the host's policy refuses of the manifest.
    ///
    /// # Errors
    /// With `enforce`, the error of the audit log.
    fn context(&self, manifest: &Manifest, granted: Granted, log: PluginLog) -> Result<PluginContext> {
        let audit = self.auditor(manifest, &log);
        let audit = if granted.enforce { audit.enforced() } else { audit };
        for refusal in &granted.refused {
            audit.withheld(refusal.key, refusal.wanted.as_str(), refusal.reason())?;
        }
        if let Some(message) = self.options.policy.trusting().filter(|_| !granted.confined) {
            log.note(LogLevel::Warn, None, &message);
        }
        let (secrets, protected) = (self.options.secrets.clone(), self.options.protected());
        let log_level = self.options.log_level;
        let devices = self.device_access(manifest);
        Ok(PluginContext { log, audit, granted: Arc::new(granted), secrets, protected, devices, log_level })
    }

    /// Where the plugin's instances are placed, if they need GPUs.
    pub(crate) fn device_access(&self, manifest: &Manifest) -> Option<DeviceAccess> {
        let resources = &manifest.resources;
        let devices = self.options.devices.clone().filter(|_| resources.gpus() > 0)?;
        let bytes = resources.min_gpu_vram_mb.unwrap_or(0).saturating_mul(1 << 20);
        Some(DeviceAccess { devices, need: DeviceNeed::new(resources.gpus(), bytes) })
    }

    /// The number of live component instances.
    pub(crate) fn component_instances(&self) -> usize {
        #[cfg(feature = "wasm")]
        let instances = self.engine.get().map_or(0, bivium_wasm::WasmEngine::instances);
        #[cfg(not(feature = "wasm"))]
        let instances = 0;
        instances
    }

    /// Makes the plugin with its grants. It has no configuration and no running instance yet.
    pub(crate) async fn construct(
        &self,
        manifest: &Arc<Manifest>,
        granted: Granted,
        log: PluginLog,
    ) -> Result<Arc<dyn PluginInterface>> {
        let named = |error: PluginError| error.with_plugin(&manifest.name);
        let context = self.context(manifest, granted, log).map_err(named)?;
        let granted = Arc::clone(&context.granted);
        let plugin = match &manifest.runtime {
            Runtime::Wasm(plugin) => self.component(manifest, plugin, context).await,
            Runtime::Python(plugin) => self.worker(manifest, plugin, context).await,
        };
        let plugin = plugin.map_err(|error| named(granted.explain(error)))?;
        let has_policy = self.options.policy != HostPolicy::default();
        Ok(if has_policy { Arc::new(PolicyErrors { plugin, granted }) } else { plugin })
    }
}

#[cfg(feature = "wasm")]
impl Constructor {
    async fn engine(&self) -> Result<&bivium_wasm::WasmEngine> {
        self.engine.get_or_try_init(|| async { bivium_wasm::WasmEngine::new(self.options.wasm.clone()) }).await
    }

    /// Compiles a plugin's component. Runs nothing.
    pub(crate) async fn compile(&self, manifest: &Manifest, plugin: &WasmPlugin) -> Result<bivium_wasm::Compilation> {
        let granted = self.granted(manifest);
        let compiled = bivium_wasm::compile(self.engine().await?, &manifest.name, plugin, &granted.limits).await;
        compiled.map_err(|error| granted.explain(error))
    }

    /// Describes a plugin's component. None of its code runs.
    pub(crate) async fn describe(&self, manifest: &Manifest, plugin: &WasmPlugin) -> Result<bivium_wasm::Description> {
        bivium_wasm::describe(self.engine().await?, &manifest.name, plugin, &self.granted(manifest).limits).await
    }

    async fn component(
        &self,
        manifest: &Manifest,
        plugin: &WasmPlugin,
        context: PluginContext,
    ) -> Result<Arc<dyn PluginInterface>> {
        Ok(Arc::new(bivium_wasm::load(self.engine().await?, manifest, plugin, &self.exchange, context).await?))
    }
}

#[cfg(not(feature = "wasm"))]
impl Constructor {
    async fn component(
        &self,
        _manifest: &Manifest,
        _plugin: &WasmPlugin,
        _context: PluginContext,
    ) -> Result<Arc<dyn PluginInterface>> {
        Err(absent(RuntimeKind::Wasm))
    }
}

#[cfg(feature = "python")]
impl Constructor {
    async fn worker(
        &self,
        manifest: &Arc<Manifest>,
        plugin: &Arc<PythonPlugin>,
        context: PluginContext,
    ) -> Result<Arc<dyn PluginInterface>> {
        let (places, declared) = (&self.options.places, bivium_worker::PythonManifest::new(manifest, plugin));
        #[cfg(feature = "cjm")]
        let extension = crate::extensions::of_worker(manifest, &self.options.cjm);
        #[cfg(not(feature = "cjm"))]
        let extension = None;
        let proxy = bivium_worker::RemotePluginProxy::load(&declared, &self.exchange, context, places, extension);
        Ok(Arc::new(proxy.await?))
    }
}

#[cfg(not(feature = "python"))]
impl Constructor {
    async fn worker(
        &self,
        _manifest: &Arc<Manifest>,
        _plugin: &Arc<PythonPlugin>,
        _context: PluginContext,
    ) -> Result<Arc<dyn PluginInterface>> {
        Err(absent(RuntimeKind::Python))
    }
}

/// The error of a plugin whose runtime this host was built without.
#[cfg(not(all(feature = "wasm", feature = "python")))]
pub(crate) fn absent(runtime: RuntimeKind) -> PluginError {
    let runtime = runtime.as_str();
    let message = format!("this host was built without the runtime {runtime:?}, so it cannot run this plugin");
    let help = format!("build it with the feature `{runtime}` of the crate `bivium`");
    PluginError::unavailable(message).with_help(help)
}

#[cfg(all(test, not(all(feature = "wasm", feature = "python"))))]
mod tests {
    use bivium_interface::ErrorCode;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_manifest_of_an_absent_runtime_is_told_which_feature_is_missing() {
        let all = [
            ("wasm", cfg!(feature = "wasm"), json!({"name": "p", "version": "1", "component": "x.wasm"})),
            ("python", cfg!(feature = "python"), json!({"name": "p", "version": "1", "module": "x", "class": "X"})),
        ];
        for (runtime, is_there, manifest) in all.into_iter().filter(|(_, is_there, _)| !is_there) {
            let manifest = Manifest::parse(&manifest.to_string(), std::path::Path::new("/x/p.json")).unwrap();
            let error = crate::open(manifest, json!({})).await.err().unwrap();
            assert_eq!((error.code(), error.plugin(), is_there), (ErrorCode::Unavailable, Some("p"), false));
            assert!(error.to_string().contains(&format!("the feature `{runtime}` of the crate")), "{error}");
        }
    }
}
