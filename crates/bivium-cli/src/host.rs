//! The manager that a command works with. However the command ends, plugins are unloaded and the exchange is deleted before
//! the program exits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium::pipeline::Pipeline;
use bivium::{
    AuditFile, Call, CallHandle, CancellationToken, Compiler, Discovery, ErrorCode, FileKind, HostPolicy,
    ManagerBuilder, Manifest, PluginError, PluginManager, Result, SearchPath, Shadowed, WasmConfig,
    default_search_paths,
};
use bivium_interface::read_text;
use serde_json::Value;

use crate::args::{Global, Named};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;

/// The one argument of a process that compiles a component.
pub(crate) const COMPILER: &str = "compiler";

/// How much of a file is read to tell what it is, in bytes.
const MOST_LOOKED_AT: u64 = 1 << 20;

/// A manager for one command.
pub(crate) struct Host {
    pub(crate) manager: PluginManager,
    /// Cancelled by the first signal.
    pub(crate) stop: CancellationToken,
}

impl Host {
    /// A host for all plugins in the search paths. From now on it handles the signals.
    pub(crate) fn open(global: &Global, output: &Output) -> Result<Self> {
        let host = Self::with(global, output, Place::Searched)?;
        host.warn_of_search_paths(global, output, None);
        Ok(host)
    }

    /// A host for one plugin, and the plugin's name. The path of a manifest stands for the plugin that it declares; the path of a
    /// component or a Python file is itself a plugin.
    pub(crate) fn for_plugin(global: &Global, output: &Output, named: &Named) -> Result<(Self, String)> {
        let Target { name, place } = Target::of(named)?;
        let is_searched = matches!(place, Place::Searched);
        let host = Self::with(global, output, place)?;
        // A plugin that is given by its path is not searched for.
        if is_searched {
            host.warn_of_search_paths(global, output, Some(&name));
            host.check_is_no_pipeline(&name)?;
        }
        Ok((host, name))
    }

    /// Fails if the name is a pipeline's and no plugin has it.
    fn check_is_no_pipeline(&self, name: &str) -> Result<()> {
        if self.manager.manifest(name).err().is_none_or(|error| error.code() != ErrorCode::NotFound) {
            return Ok(());
        }
        let is_meant = |path: &Path| Pipeline::read(path).is_ok_and(|pipeline| pipeline.name == name);
        if !self.manager.discover().pipelines().any(is_meant) {
            return Ok(());
        }
        Err(PluginError::not_found(format!("there is no plugin {name:?}, but there is a pipeline with this name"))
            .with_help(format!("`bivium pipeline run {name}` runs it")))
    }

    /// As [`for_plugin`](Self::for_plugin), for commands that save something about the plugin for later runs.
    pub(crate) fn for_kept_plugin(global: &Global, output: &Output, named: &Named) -> Result<(Self, String)> {
        if let Target { name, place: Place::Bare(_) } = Target::of(named)? {
            let message = format!("nothing can be saved for {name}, because it has no manifest");
            return Err(PluginError::invalid_input(message)
                .with_help("give --config to each run, or write a manifest that names the file"));
        }
        Self::for_plugin(global, output, named)
    }

    /// Warns about the default search paths: about files in them that are not read, and about plugins of the current directory that
    /// are used in place of the user's own. Warns about all of them, or only about the plugin that was asked for.
    fn warn_of_search_paths(&self, global: &Global, output: &Output, asked: Option<&str>) {
        if !named_paths(global).is_empty() {
            return;
        }
        let discovery = self.manager.discover();
        // If it is the plugin that was asked for and there is no other, this becomes the error of the command.
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
            let what = format!("{} is used, and your own {} is ignored", by.display(), path.display());
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

    /// Loads a plugin, with changes to its configuration for this run only. Stops when the call is interrupted.
    pub(crate) async fn load(&self, name: &str, changes: Option<Value>, call: &CallHandle) -> Result<()> {
        // If the name is unknown, there is no plugin that the error could belong to.
        self.manager.manifest(name)?;
        let load = async {
            match changes {
                Some(changes) => self.manager.load_changed(name, changes).await,
                None => self.manager.load(name).await,
            }
        };
        call.guard(load).await.map_err(|error| error.with_plugin(name))
    }

    /// Does the work of a command. Then unloads every plugin, however the work ended.
    pub(crate) async fn scope<T>(self, work: impl AsyncFnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let result = work(&self).await;
        for report in self.manager.unload_all().await {
            if let Err(error) = report.result {
                tracing::warn!(plugin = report.name, %error, "the plugin was not unloaded cleanly");
            }
        }
        result
    }

    /// As [`scope`](Self::scope), with the plugin loaded. A signal ends it.
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

    /// Finds the plugins, and warns about files that should be manifests. The files that are not read were already reported.
    pub(crate) fn discover(&self, global: &Global, output: &Output) -> Discovery {
        let discovery = self.manager.discover();
        let is_told = |error: &PluginError| error.code() == ErrorCode::Denied && named_paths(global).is_empty();
        for (_, error) in discovery.problems.iter().filter(|(_, error)| !is_told(error)) {
            output.warning(error);
        }
        discovery
    }
}

/// A manager's settings, from the command line and the environment, without the files that it would write to.
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
        builder = builder.policy(policy(file)?);
    }
    if let Some(level) = global.log_level {
        builder = builder.plugin_log_level(level.into());
    }
    for (name, value) in global.secrets.as_text()? {
        builder = builder.secret(name, value);
    }
    Ok(builder)
}

/// The policy in a file. If the file is evidently another document, the error says so.
///
/// # Errors
/// As [`HostPolicy::read`].
pub(crate) fn policy(file: &Path) -> Result<HostPolicy> {
    HostPolicy::read(file).map_err(|error| {
        let help = match FileKind::of(file) {
            FileKind::Pipeline => "`bivium pipeline run` runs it",
            FileKind::Manifest if is_named(file) => "`bivium run` calls the plugin",
            _ => return error,
        };
        let kind = match FileKind::of(file) {
            FileKind::Manifest => "the manifest of a plugin".to_owned(),
            kind => kind.to_string(),
        };
        let what = format!("{} is {kind}, not a host policy", file.display());
        PluginError::new(error.code(), what).with_help(help)
    })
}

/// Whether a file is a JSON object with a `name`. Manifests have one, and policies have none.
fn is_named(file: &Path) -> bool {
    // A pipe is read once.
    let text = if file.is_file() { read_text(file, MOST_LOOKED_AT).ok() } else { None };
    text.is_some_and(|text| serde_json::from_str::<Value>(&text).is_ok_and(|value| value.get("name").is_some()))
}

/// A plugin as the command line names it.
pub(crate) struct Target<'a> {
    pub(crate) name: String,
    pub(crate) place: Place<'a>,
}

/// Where the plugin is.
pub(crate) enum Place<'a> {
    /// In the search paths, by its name.
    Searched,
    /// In the manifest with this path.
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
        let manifest = Manifest::of_file(path, bivium::forms())?;
        let name = manifest.name.clone();
        let place = if manifest.is_bare() { Place::Bare(Box::new(manifest)) } else { Place::Manifest(path) };
        Ok(Self { name, place })
    }
}

/// The directory of the plugins' log records.
pub(crate) fn log_dir(global: &Global) -> Result<PathBuf> {
    let data_dir = global.data_dir.clone().or_else(bivium::default_data_dir);
    let missing = || PluginError::internal("this user has no home directory").with_help("name a --data-dir");
    Ok(data_dir.ok_or_else(missing)?.join("logs"))
}

/// How components are compiled, and where compiled code is stored. Components are not trusted, so each is compiled in a separate
/// process.
pub(crate) fn wasm(global: &Global) -> Result<WasmConfig> {
    let config = WasmConfig::new().compiler(Compiler::this_program([COMPILER])?);
    Ok(match &global.cache {
        Some(dir) => config.cache_dir(dir),
        None => config,
    })
}

/// Where to look for manifests: the directories of the command line, else those of the environment, else the default ones.
pub(crate) fn search_paths(global: &Global) -> Vec<SearchPath> {
    let named = named_paths(global);
    if named.is_empty() {
        let own = own_manifests(global).map(SearchPath::named);
        return default_search_paths().into_iter().chain(own).collect();
    }
    named.into_iter().map(SearchPath::named).collect()
}

/// Refuses a path of the command line that does not exist. A path that the variable lists may be created later.
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

/// The manifests in BIVIUM_HOME. They are trusted, because the user set that variable.
fn own_manifests(global: &Global) -> impl Iterator<Item = PathBuf> {
    global.home.iter().map(|home| home.join("manifests"))
}

/// The search paths that the user has named.
fn named_paths(global: &Global) -> Vec<PathBuf> {
    if !global.manifests.is_empty() {
        return global.manifests.clone();
    }
    let listed = std::env::var_os("BIVIUM_MANIFESTS").unwrap_or_default();
    std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect()
}
