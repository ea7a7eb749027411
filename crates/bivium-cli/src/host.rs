//! The manager that a command works with, and its end: whatever happened, plugins are unloaded and the exchange is
//! deleted before the program ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium::pipeline::Pipeline;
use bivium::{
    AuditFile, Call, CallHandle, CancellationToken, Compiler, Discovery, ErrorCode, FileKind, HostPolicy,
    ManagerBuilder, Manifest, PluginError, PluginManager, Result, SearchPath, Shadowed, WasmConfig,
    default_search_paths,
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
        let host = Self::with(global, output, Place::Searched)?;
        host.tell_of_search(global, output, None);
        Ok(host)
    }

    /// A host for one plugin, and the plugin's name: a path of a manifest stands for the plugin that it declares, and that of a
    /// component or a Python file for itself.
    pub(crate) fn for_plugin(global: &Global, output: &Output, named: &Named) -> Result<(Self, String)> {
        let Target { name, place } = Target::of(named)?;
        let is_searched = matches!(place, Place::Searched);
        let host = Self::with(global, output, place)?;
        // What is given by its path is not searched for.
        if is_searched {
            host.tell_of_search(global, output, Some(&name));
            host.check_is_no_pipeline(&name)?;
        }
        Ok((host, name))
    }

    /// Tells of a pipeline that was asked for as if it were a plugin.
    fn check_is_no_pipeline(&self, name: &str) -> Result<()> {
        if self.manager.manifest(name).err().is_none_or(|error| error.code() != ErrorCode::NotFound) {
            return Ok(());
        }
        let is_meant = |path: &Path| Pipeline::read(path).is_ok_and(|pipeline| pipeline.name == name);
        if !self.manager.discover().pipelines().any(is_meant) {
            return Ok(());
        }
        Err(PluginError::not_found(format!("there is no plugin {name:?}, but a pipeline of this name"))
            .with_help(format!("`bivium pipeline run {name}` runs it")))
    }

    /// As [`for_plugin`](Self::for_plugin), for commands that keep something of the plugin for later runs.
    pub(crate) fn for_kept_plugin(global: &Global, output: &Output, named: &Named) -> Result<(Self, String)> {
        if let Target { name, place: Place::Bare(_) } = Target::of(named)? {
            let message = format!("nothing is kept of {name}, which has no manifest");
            return Err(PluginError::invalid_input(message)
                .with_help("give --config to each run, or write a manifest that names the file"));
        }
        Self::for_plugin(global, output, named)
    }

    /// Tells of what lies in the places that nobody has named and is not read, and of plugins of the current directory that
    /// are taken in place of the user's own: of all, or of the one that is asked for.
    fn tell_of_search(&self, global: &Global, output: &Output, asked: Option<&str>) {
        if !named_paths(global).is_empty() {
            return;
        }
        let discovery = self.manager.discover();
        // Where it is the one that is asked for and there is no other, it is the error of the command.
        let is_error = |path: &Path| {
            asked.is_some_and(|name| {
                !discovery.found.contains_key(name) && path.file_stem().is_some_and(|stem| stem == name)
            })
        };
        for (path, error) in discovery.distrusted() {
            if !is_error(path) {
                output.caution(error);
            }
        }
        let matters = |shadowed: &&Shadowed| asked.is_none_or(|name| shadowed.name == name);
        for Shadowed { name, path, by, .. } in discovery.shadowed.iter().filter(matters) {
            let what = format!("{} is taken, and your own {} is passed over", by.display(), path.display());
            output.caution(&PluginError::invalid_manifest(what).with_plugin(name));
        }
    }

    fn with(global: &Global, output: &Output, place: Place<'_>) -> Result<Self> {
        let mut builder = builder(global, place)?.log_dir(log_dir(global)?);
        if let Some(file) = &global.audit {
            builder = builder.audit(Arc::new(AuditFile::open(file)?));
        }
        let host = Self { manager: builder.build()?, stop: interrupt::watch(output.screen())? };
        output.stops_with(&host.stop);
        Ok(host)
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

    /// Warns of files that should be manifests. Of those that are not read it was told before.
    pub(crate) fn discover(&self, global: &Global, output: &Output) -> Discovery {
        let discovery = self.manager.discover();
        let is_told = |error: &PluginError| error.code() == ErrorCode::Denied && named_paths(global).is_empty();
        for (_, error) in discovery.problems.iter().filter(|(_, error)| !is_told(error)) {
            output.warning(error);
        }
        discovery
    }
}

/// What a manager is made of, by the command line and the environment: without what it would write to.
pub(crate) fn builder(global: &Global, place: Place<'_>) -> Result<ManagerBuilder> {
    let mut builder = PluginManager::builder().wasm(wasm(global)?);
    builder = match place {
        Place::Searched => builder,
        Place::Manifest(path) => builder.manifests(path),
        Place::Bare(manifest) => builder.manifest(*manifest),
    };
    check_named(global)?;
    let named = named_paths(global);
    for path in &named {
        builder = builder.manifests(path);
    }
    if named.is_empty() {
        builder = builder.default_manifests();
        for path in own_manifests(global) {
            builder = builder.manifests(path);
        }
    }
    if let Some(dir) = &global.data_dir {
        builder = builder.data_dir(dir);
    }
    if let Some(dir) = &global.cache {
        builder = builder.worker_cache(dir);
    }
    if let Some(dir) = &global.environments {
        builder = builder.environments(dir);
    }
    if let Some(file) = &global.policy {
        builder = builder.policy(HostPolicy::read(file)?);
    }
    if let Some(level) = global.log_level {
        builder = builder.plugin_log_level(level.into());
    }
    for (name, value) in global.secrets.as_text()? {
        builder = builder.secret(name, value);
    }
    Ok(builder)
}

/// A plugin as the command line names it.
pub(crate) struct Target<'a> {
    pub(crate) name: String,
    pub(crate) place: Place<'a>,
}

/// Where it is to be found.
pub(crate) enum Place<'a> {
    /// Among the manifests.
    Searched,
    /// In the manifest of this path.
    Manifest(&'a Path),
    /// In a file that has no manifest.
    Bare(Box<Manifest>),
}

impl<'a> Target<'a> {
    pub(crate) fn of(named: &'a Named) -> Result<Self> {
        let path = Path::new(&named.plugin);
        let has = |path: &Path, ends: &[&str]| {
            path.extension().is_some_and(|extension| ends.iter().any(|end| extension.eq_ignore_ascii_case(end)))
        };
        let python = named.plugin.rsplit_once(':').map_or(path, |(file, _)| Path::new(file));
        let is_module = Manifest::is_python_module(&named.plugin);
        let is_place = has(path, &["json", "wasm"]) || has(python, &["py"]);
        if !is_place && !is_module {
            return Ok(Self { name: named.plugin.clone(), place: Place::Searched });
        }
        if has(path, &["json", "wasm"]) && !path.exists() {
            return Err(PluginError::not_found(format!("there is no file {}", path.display())));
        }
        if has(path, &["json"]) {
            let shown = path.display();
            let help = match FileKind::of(path) {
                FileKind::Pipeline => format!("`bivium pipeline run {shown}` runs it"),
                FileKind::Policy => format!("`--policy {shown}` applies it"),
                _ => String::new(),
            };
            if !help.is_empty() {
                let what = format!("{shown} is {}, not the manifest of a plugin", FileKind::of(path));
                return Err(PluginError::invalid_input(what).with_help(help));
            }
        }
        let manifest = Manifest::of_file(path)?;
        let name = manifest.name.clone();
        let place = if manifest.is_bare() { Place::Bare(Box::new(manifest)) } else { Place::Manifest(path) };
        Ok(Self { name, place })
    }
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
    let config = WasmConfig::new().compiler(Compiler::this_program([crate::COMPILER])?);
    Ok(match &global.cache {
        Some(dir) => config.cache_dir(dir),
        None => config,
    })
}

/// Where to look for manifests: what the command line says, else the environment, else the usual places.
pub(crate) fn search_paths(global: &Global) -> Vec<SearchPath> {
    let named = named_paths(global);
    if named.is_empty() {
        let own = own_manifests(global).map(SearchPath::named);
        return default_search_paths().into_iter().chain(own).collect();
    }
    named.into_iter().map(SearchPath::named).collect()
}

/// Refuses a place of the command line that is not there. What a variable lists may be made later.
///
/// # Errors
/// `not-found`.
pub(crate) fn check_named(global: &Global) -> Result<()> {
    match global.manifests.iter().find(|path| !path.exists()) {
        Some(path) => Err(PluginError::not_found(format!("there is no directory or manifest {}", path.display()))
            .with_help("--manifests names it")),
        None => Ok(()),
    }
}

/// The manifests in BIVIUM_HOME, which whoever set it trusts.
fn own_manifests(global: &Global) -> impl Iterator<Item = PathBuf> {
    global.home.iter().map(|home| home.join("manifests"))
}

/// The places that somebody has named.
fn named_paths(global: &Global) -> Vec<PathBuf> {
    if !global.manifests.is_empty() {
        return global.manifests.clone();
    }
    let listed = std::env::var_os("BIVIUM_MANIFESTS").unwrap_or_default();
    std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect()
}
