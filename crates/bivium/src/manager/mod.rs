//! [`PluginManager`]: finds, loads, configures, schedules, runs, observes, reloads and unloads plugins.
//!
//! Nothing here distinguishes runtimes; only `construct` does. The methods are in files that are named after them: `load`, `execute`,
//! `configure`, `observe`. `docs/manager.md` lists them all.

mod builder;
#[cfg(feature = "wasm")]
mod compile;
mod configure;
mod execute;
mod freed;
mod held;
mod inspect;
mod layers;
mod load;
mod loaded;
mod observe;
mod refusals;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bivium_exchange::Exchange;
use bivium_interface::{Manifest, PluginError, Result, nearest};
use bivium_records::{LogFiles, PluginLog};

pub use builder::ManagerBuilder;
pub use freed::Freed;
pub use held::Held;
pub use inspect::{Import, ImportPermission, Inspection};
pub use load::{LoadReport, UnloadReport};
pub use observe::{PluginInfo, RunningCall};

use crate::config::SettingsStore;
use crate::construct::Constructor;
use crate::discovery::{Discovery, FileKind, SearchPath, discover};
use layers::Layers;
use loaded::Loaded;

/// Whether a file that was passed over may be the manifest of this plugin.
fn is_misnamed(name: &str, path: &std::path::Path, kind: FileKind) -> bool {
    let is_named =
        |path: Option<&std::path::Path>| path.and_then(|path| path.file_stem()).is_some_and(|stem| stem == name);
    kind == FileKind::Misnamed && (is_named(Some(path)) || is_named(path.parent()))
}

/// How long the end of a manager waits until plugins' last log records are written to disk.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// The host of plugins. Cheap to clone; clones are the same manager. When the last clone is dropped, every plugin ends, and the exchange is
/// deleted once its last blob is dropped too.
///
/// All methods may be called from several tasks at once. Methods that change a plugin (load, configure, reload, unload) run one at a time
/// for each plugin; calls go on meanwhile.
#[derive(Clone)]
pub struct PluginManager {
    inner: Arc<ManagerState>,
}

struct ManagerState {
    search_paths: Vec<SearchPath>,
    /// Manifests that the host added in memory.
    given: BTreeMap<String, Arc<Manifest>>,
    constructor: Constructor,
    layers: Layers,
    settings: SettingsStore,
    log_files: Option<LogFiles>,
    found: Mutex<BTreeMap<String, Arc<Manifest>>>,
    loaded: Mutex<BTreeMap<String, Arc<Loaded>>>,
    /// Locked while a plugin with that name is loaded or unloaded.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Drop for ManagerState {
    fn drop(&mut self) {
        if let Some(files) = &self.log_files {
            files.flush(LAST_RECORDS);
        }
    }
}

impl PluginManager {
    /// The exchange, for making blobs for calls.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        self.inner.constructor.exchange()
    }

    /// Searches for manifests again. The result replaces what was found before; loaded plugins are not changed. Blocks on the file system
    /// while a few small files are read.
    #[must_use = "the report says which files are not valid manifests"]
    pub fn discover(&self) -> Discovery {
        let mut discovery = discover(&self.inner.search_paths);
        discovery.found.extend(self.inner.given.iter().map(|(name, manifest)| (name.clone(), Arc::clone(manifest))));
        *self.found_map() = discovery.found.clone();
        discovery
    }

    /// The manifest of the plugin with this name. Searches for it if it has not been found yet.
    ///
    /// # Errors
    /// `not-found`, which names the known plugins; `invalid-manifest` if the file that should declare it is not valid.
    pub fn manifest(&self, name: &str) -> Result<Arc<Manifest>> {
        if let Some(manifest) = self.found_map().get(name) {
            return Ok(Arc::clone(manifest));
        }
        let discovery = self.discover();
        if let Some(manifest) = discovery.found.get(name) {
            return Ok(Arc::clone(manifest));
        }
        let names_it = |(_, error): &&(PathBuf, PluginError)| error.plugin() == Some(name);
        let is_its_own = |(path, _): &&(PathBuf, PluginError)| path.file_stem().is_some_and(|stem| stem == name);
        let mut problems = discovery.problems.iter();
        Err(match problems.clone().find(names_it).or_else(|| problems.find(is_its_own)) {
            Some((_, error)) => error.clone().with_plugin(name),
            None => self.not_found(name, &discovery),
        })
    }

    fn not_found(&self, name: &str, discovery: &Discovery) -> PluginError {
        let known: Vec<&str> = discovery.found.keys().map(String::as_str).collect();
        let paths: Vec<String> = self.inner.search_paths.iter().map(|place| place.path.display().to_string()).collect();
        let mut help = match known.as_slice() {
            [] => format!("there is no manifest in {}", paths.join(" or ")),
            known => format!("known plugins are {}; searched in {}", known.join(", "), paths.join(" and ")),
        };
        if let Some(nearest) = nearest(name, known) {
            help = format!("did you mean {nearest:?}? {help}");
        }
        for (path, _) in discovery.passed_over.iter().filter(|(path, kind)| is_misnamed(name, path, *kind)) {
            help = format!(
                "{} is not read, because a manifest in a subdirectory must have the directory's name; {help}",
                path.display()
            );
        }
        for (_, error) in discovery.distrusted() {
            help.push_str("; ");
            help.push_str(error.message());
        }
        PluginError::not_found(format!("there is no plugin {name:?}")).with_help(help)
    }

    /// A new log for a plugin.
    fn log(&self, name: &str) -> PluginLog {
        PluginLog::kept(name, self.inner.log_files.clone())
    }

    fn found_map(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Manifest>>> {
        self.inner.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded_map(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Loaded>>> {
        self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loaded plugin with this name.
    fn loaded(&self, name: &str) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.loaded_map().get(name) {
            return Ok(Arc::clone(loaded));
        }
        Err(match self.manifest(name) {
            Ok(_) => PluginError::unavailable("the plugin is not loaded").with_plugin(name).with_help("load it first"),
            Err(error) => error,
        })
    }

    /// Waits until no other task loads or unloads this plugin.
    async fn turn(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}
