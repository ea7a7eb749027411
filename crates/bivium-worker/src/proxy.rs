//! [`RemotePluginProxy`]: a Python plugin behind `PluginInterface`.

use std::sync::Arc;

use async_trait::async_trait;
use bivium_exchange::Exchange;
use bivium_instances::{PluginContext, PooledPlugin};
use bivium_interface::{
    Call, CallId, LogLevel, LogSource, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result, Stats,
};
use serde_json::Value;

use crate::caches;
use crate::confinement::Confinement;
use crate::cures::Cures;
use crate::environment;
use crate::environment::embedded::Package;
use crate::extra::WorkerExtension;
use crate::factory::WorkerFactory;
use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;

/// The host's side of a Python plugin: a class in worker processes, up to `replicas` of them, each running `concurrency`
/// calls at once.
///
/// A worker is started for the first call that needs one. If a worker crashes, the calls in it fail with `crashed`, and the
/// next call gets a new one. Dropping the proxy ends them all.
pub struct RemotePluginProxy(PooledPlugin<WorkerFactory>);

impl RemotePluginProxy {
    /// Finds the plugin's interpreter, or makes the environment that its manifest asks for. That may take minutes
    /// the first time; the log tells how far it is. Starts no worker. `extension` gives its workers more, for plugins that need that.
    ///
    /// # Errors
    /// `invalid-manifest` if its requirements are not valid; `invalid-config` if it is granted a
    /// secret that the host does not have; `not-found` or `unavailable` if
    /// there is no suitable interpreter or the environment cannot be made; `denied` if this machine cannot enforce the
    /// permissions and limits of its workers, and must do so.
    pub async fn load(
        manifest: &PythonManifest,
        exchange: &Exchange,
        context: PluginContext,
        places: &WorkerPlaces,
        extension: Option<Arc<dyn WorkerExtension>>,
    ) -> Result<Self> {
        let named = |error: PluginError| error.with_plugin(&manifest.name);
        for secret in &context.granted.permissions.secrets {
            context.secrets.granted(&secret.name).map_err(named)?;
        }
        let (cache, confined) = (places.cache.as_deref(), context.granted.confined);
        let environments = places.environments();
        let find = |environments| environment::interpreter(manifest, environments, cache, confined, &context.log);
        let (python, environment) = match find(environments.as_deref()).await {
            Err(error) if environment::lacks_place(manifest, &error) => {
                let message = format!("its environment is made in a directory for this host alone: {error}");
                context.log.push(LogLevel::Warn, LogSource::Host, 0, None, &message);
                let area = exchange.area("environment").map_err(named)?;
                // If that fails as well, the first error says what to repair.
                (find(Some(area.path())).await.map_err(|_| named(error))?, Some(area))
            }
            python => (python.map_err(named)?, None),
        };
        let places = places.clone();
        let ours = exchange.clone();
        let cache = places.cache.clone().map_or_else(environment::cache_dir, Ok);
        let laid = tokio::task::spawn_blocking(move || Package::new(cache, &ours)).await;
        let package = laid.map_err(|error| PluginError::internal(error.to_string())).flatten().map_err(named)?;
        let cache = caches::Kept::of(&places, manifest, &context).await;
        let confinement =
            Confinement::new(manifest, &context, exchange, &places, &python.path, &package.path).map_err(named)?;
        let (manifest, exchange, confinement) = (manifest.clone(), exchange.clone(), Arc::new(confinement));
        let package = Arc::new(package);
        let (granted, path) = (Arc::clone(&context.granted), python.path.clone());
        let cures = Arc::new(Cures { manifest: manifest.clone(), granted, python: path });
        let factory = WorkerFactory {
            manifest,
            exchange,
            context,
            python,
            environment,
            package,
            places,
            extension,
            confinement,
            cures,
            cache,
        };
        Ok(Self(PooledPlugin::new(factory)))
    }
}

#[async_trait]
impl PluginInterface for RemotePluginProxy {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        self.0.initialize(config).await
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        self.0.execute(call).await
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        self.0.execute_stream(call).await
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.0.methods().await
    }

    async fn config_schema(&self) -> Result<Value> {
        match &self.0.factory().manifest.config_schema {
            // Known from the manifest, without a worker.
            Some(schema) => Ok(schema.clone()),
            None => self.0.config_schema().await,
        }
    }

    async fn current_config(&self) -> Result<Value> {
        self.0.current_config().await
    }

    async fn stats(&self) -> Result<Stats> {
        self.0.stats().await
    }

    fn position(&self, call: CallId) -> Option<usize> {
        self.0.position(call)
    }

    async fn is_alive(&self) -> bool {
        self.0.is_alive().await
    }

    async fn cleanup(&self) -> Result<()> {
        self.0.cleanup().await
    }
}
