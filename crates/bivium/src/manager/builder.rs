//! [`ManagerBuilder`]: the settings of a manager.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bivium_exchange::Exchange;
use bivium_interface::{HostPolicy, Layer, LogLevel, Manifest, PluginError, Result};
use bivium_records::{AuditSink, LogFiles};
#[cfg(feature = "wasm")]
use bivium_wasm::WasmConfig;

use super::layers::Layers;
use super::{ManagerState, PluginManager};
use crate::catch_panic::CatchPanic;
use crate::config::SettingsStore;
use crate::construct::{Constructor, Options};
use crate::data_dir::default_data_dir;
use crate::discovery::{SearchPath, default_search_paths};
use crate::monitor::{MachineMonitor, Monitor};
use crate::scheduler::{QueueScheduler, Scheduler};

/// Makes a [`PluginManager`].
#[derive(Default)]
pub struct ManagerBuilder {
    pub(super) search_paths: Vec<SearchPath>,
    given: BTreeMap<String, Arc<Manifest>>,
    pub(super) data_dir: Option<PathBuf>,
    log_dir: Option<PathBuf>,
    pub(super) options: Options,
    exchange: Option<Exchange>,
    monitor: Option<Arc<dyn Monitor>>,
    scheduler: Option<Arc<dyn Scheduler>>,
    layers: Vec<Arc<dyn Layer>>,
}

impl PluginManager {
    /// A manager with the defaults: the default search paths, exchange and data directory, and a
    /// [`QueueScheduler`](crate::scheduler::QueueScheduler).
    ///
    /// # Errors
    /// `internal` if the exchange cannot be created.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Makes a manager with other settings.
    #[must_use]
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }
}

impl ManagerBuilder {
    /// Adds a search path for manifests, after those added before: a directory or one file. Its files are trusted, whoever owns them. The
    /// first path that is added replaces the defaults ([`default_search_paths`]).
    #[must_use]
    pub fn manifests(mut self, path: impl Into<PathBuf>) -> Self {
        self.search_paths.push(SearchPath::named(path));
        self
    }

    /// Adds a plugin with a manifest in memory. It takes precedence over plugins in the search paths.
    #[must_use]
    pub fn manifest(mut self, manifest: Manifest) -> Self {
        self.given.insert(manifest.name.clone(), Arc::new(manifest));
        self
    }

    /// Adds the default search paths for manifests, after those added before. Files that another user could have put there are not read.
    #[must_use]
    pub fn default_manifests(mut self) -> Self {
        self.search_paths.extend(default_search_paths());
        self
    }

    /// (feature `cjm`) Adds the search paths of an installation of cjm-plugin-system or cjm-substrate. Its plugins keep using the data
    /// and models that they have there.
    #[cfg(feature = "cjm")]
    #[must_use]
    pub fn installation(mut self, installation: &bivium_cjm::Installation) -> Self {
        self.search_paths.extend(installation.manifests.iter().map(SearchPath::named));
        self.options.cjm.data = Some(installation.data_dir.clone());
        self.options.cjm.models.clone_from(&installation.models_dir);
        self
    }

    /// The directory for saved configurations and the data of plugins of cjm-plugin-system, in place of the platform's data directory.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Stores plugins' log records in this directory, in a few files for each plugin (see [`LogFiles`](crate::LogFiles)).
    /// [`KeptLog`](crate::KeptLog) reads them. Without it, log records are in memory only.
    #[must_use]
    pub fn log_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.log_dir = Some(dir.into());
        self
    }

    /// (feature `python`) The directory for files of Python plugins that can be made again: the worker's program, environments and
    /// downloads of installers, in place of the platform's cache directory.
    #[cfg(feature = "python")]
    #[must_use]
    pub fn worker_cache(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.places.cache = Some(dir.into());
        self
    }

    /// (feature `python`) The directory for environments made for `requirements`, in place of the platform's cache directory.
    #[cfg(feature = "python")]
    #[must_use]
    pub fn environments(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.places.environments = Some(dir.into());
        self
    }

    /// The level from which plugins are asked to log, in place of their runtime's default. A Python plugin's root logger is set to it
    /// instead of `info`. A component always passes all its log records to the host.
    #[must_use]
    pub fn plugin_log_level(mut self, level: LogLevel) -> Self {
        self.options.log_level = Some(level);
        self
    }

    /// Uses this exchange, in place of a new one.
    #[must_use]
    pub fn exchange(mut self, exchange: Exchange) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// (feature `wasm`) The configuration of the WebAssembly engine.
    #[cfg(feature = "wasm")]
    #[must_use]
    pub fn wasm(mut self, config: WasmConfig) -> Self {
        self.options.wasm = config;
        self
    }

    /// What plugins are granted at most. Without it they are granted what their manifests declare.
    #[must_use]
    pub fn policy(mut self, policy: HostPolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// Receives a record of each grant and denial, for example an [`AuditFile`](crate::AuditFile).
    #[must_use]
    pub fn audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.options.audit = Some(Arc::new(CatchPanic(sink)));
        self
    }

    /// Adds a secret. The host adds it to the requests of plugins whose manifests name it and to which the policy grants it.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.secrets = std::mem::take(&mut self.options.secrets).with(name, value);
        self
    }

    /// Measures the machine, in place of a [`MachineMonitor`].
    #[must_use]
    pub fn monitor(mut self, monitor: Arc<dyn Monitor>) -> Self {
        self.monitor = Some(Arc::new(CatchPanic(monitor)));
        self
    }

    /// Decides when calls may start, in place of a [`QueueScheduler`].
    #[must_use]
    pub fn scheduler(mut self, scheduler: Arc<dyn Scheduler>) -> Self {
        self.scheduler = Some(Arc::new(CatchPanic(scheduler)));
        self
    }

    /// Puts a layer around every plugin, inside the layers added before. Calls by name go through the layers before they wait for the
    /// plugin or the scheduler, so a call that a layer answers itself takes no place from other calls. A panic in a layer is an error of
    /// that call.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Makes the manager. It loads no plugin. Blocks on the file system for a moment.
    ///
    /// # Errors
    /// `internal` if the exchange cannot be created or there is no data directory.
    pub fn build(mut self) -> Result<PluginManager> {
        let exchange = self.exchange.map_or_else(Exchange::open, Ok)?;
        let monitor = self.monitor.unwrap_or_else(|| Arc::new(MachineMonitor::default()));
        let scheduler = self.scheduler.unwrap_or_else(|| Arc::new(QueueScheduler::new(Arc::clone(&monitor), None)));
        let data_dir = match self.data_dir {
            Some(dir) => dir,
            None => default_data_dir()
                .ok_or_else(|| PluginError::internal("this user has no home directory; name a data directory"))?,
        };
        self.options.data = Some(data_dir.clone());
        self.options.devices = scheduler.devices();
        let search_paths = if self.search_paths.is_empty() { default_search_paths() } else { self.search_paths };
        Ok(PluginManager {
            inner: Arc::new(ManagerState {
                search_paths,
                given: self.given,
                constructor: Constructor::new(exchange, self.options),
                layers: Layers { own: self.layers, scheduler, monitor },
                settings: SettingsStore::new(&data_dir),
                log_files: self.log_dir.map(LogFiles::new),
                found: Mutex::new(BTreeMap::new()),
                loaded: Mutex::new(BTreeMap::new()),
                turns: Mutex::new(BTreeMap::new()),
            }),
        })
    }
}
