//! The manager that a command works with, and its end: whatever happened, plugins are unloaded and the exchange is
//! deleted before the program ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium::{
    AuditFile, Call, CallHandle, CancellationToken, Compiler, HostPolicy, Manifest, PluginError, PluginManager, Result,
    WasmConfig, default_search_paths,
};
use serde_json::Value;

use crate::args::{Global, Named};
use crate::exit::Failure;
use crate::interrupt;
use crate::output::Output;

/// A manager for one command.
pub(crate) struct Host {
    pub(crate) manager: PluginManager,
    /// Cancelled by the first signal.
    pub(crate) stop: CancellationToken,
}

impl Host {
    /// A host for whatever the search paths hold. Takes over the signals.
    pub(crate) fn open(global: &Global, output: &Output) -> Result<Self> {
        Self::with_manifest(global, output, None)
    }

    /// A host for one plugin, and the plugin's name: a path of a manifest stands for the plugin that it declares.
    pub(crate) fn for_plugin(global: &Global, output: &Output, named: &Named) -> Result<(Self, String)> {
        let (manifest, name) = self::named(named)?;
        Ok((Self::with_manifest(global, output, manifest)?, name))
    }

    fn with_manifest(global: &Global, output: &Output, manifest: Option<&Path>) -> Result<Self> {
        let mut builder = PluginManager::builder().wasm(wasm(global)?);
        for path in manifest.map(Path::to_owned).into_iter().chain(search_paths(global)) {
            builder = builder.manifests(path);
        }
        if let Some(dir) = &global.data_dir {
            builder = builder.data_dir(dir);
        }
        builder = builder.log_dir(log_dir(global)?);
        if let Some(dir) = &global.environments {
            builder = builder.environments(dir);
        }
        if let Some(file) = &global.policy {
            builder = builder.policy(HostPolicy::read(file)?);
        }
        if let Some(file) = &global.audit {
            builder = builder.audit(Arc::new(AuditFile::open(file)?));
        }
        for (name, value) in global.secrets.as_text()? {
            builder = builder.secret(name, value);
        }
        Ok(Self { manager: builder.build()?, stop: interrupt::watch(output.screen())? })
    }

    /// Loads a plugin, with changes to its configuration for this run, unless the call is interrupted first.
    pub(crate) async fn load(&self, name: &str, changes: Option<Value>, call: &CallHandle) -> Result<()> {
        // An unknown name is no plugin's error.
        self.manager.manifest(name)?;
        let load = async {
            match changes {
                Some(changes) => self.manager.load_changed(name, changes).await,
                None => self.manager.load(name).await,
            }
        };
        call.guard(load).await.map_err(|error| error.with_plugin(name))
    }

    /// Does what a command does; then, however it ended, unloads every plugin.
    pub(crate) async fn scope<T>(self, work: impl AsyncFnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let result = work(&self).await;
        for report in self.manager.unload_all().await {
            if let Err(error) = report.result {
                tracing::warn!(plugin = report.name, %error, "the plugin did not end as it should");
            }
        }
        result
    }

    /// As [`scope`](Self::scope), with the plugin loaded, for as long as no signal comes.
    pub(crate) async fn scope_loaded<T>(
        self,
        name: &str,
        changes: Option<Value>,
        work: impl AsyncFnOnce(&PluginManager) -> Result<T>,
    ) -> Result<T, Failure> {
        self.scope(async |host: &Self| {
            let call = Call::new().cancellation(host.stop.clone()).handle().clone();
            host.load(name, changes, &call).await?;
            Ok(call.guard(work(&host.manager)).await?)
        })
        .await
    }

    /// Warns of files that should be manifests.
    pub(crate) fn discover(&self, output: &Output) -> Vec<(PathBuf, PluginError)> {
        let problems = self.manager.discover().problems;
        for (_, error) in &problems {
            output.warning(error);
        }
        problems
    }
}

/// The plugin that is meant, and its manifest where that was named by its path.
pub(crate) fn named(named: &Named) -> Result<(Option<&Path>, String)> {
    let path = Path::new(&named.plugin);
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if is_json && path.exists() {
        return Ok((Some(path), Manifest::read(path)?.name));
    }
    Ok((None, named.plugin.clone()))
}

/// Where plugins' log records are kept.
pub(crate) fn log_dir(global: &Global) -> Result<PathBuf> {
    let data_dir = global.data_dir.clone().or_else(bivium::default_data_dir);
    let missing = || PluginError::internal("this user has no home directory").with_help("name a --data-dir");
    Ok(data_dir.ok_or_else(missing)?.join("logs"))
}

/// How components are compiled, and where they are kept then. They are strangers': a process of its own holds each
/// compilation.
pub(crate) fn wasm(global: &Global) -> Result<WasmConfig> {
    let config = WasmConfig::new().compiler(Compiler::this_program(["compiler"])?);
    Ok(match &global.cache {
        Some(dir) => config.cache_dir(dir),
        None => config,
    })
}

/// Where to look for manifests: what the command line says, else the environment, else the usual places.
pub(crate) fn search_paths(global: &Global) -> Vec<PathBuf> {
    if !global.manifests.is_empty() {
        return global.manifests.clone();
    }
    let listed = std::env::var_os("BIVIUM_MANIFESTS").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() { default_search_paths() } else { listed }
}
