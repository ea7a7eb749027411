//! Shows what is found and loaded, calls, statistics, progress, logs and the machine; and cancels calls.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bivium_interface::manifest::{Resources, RuntimeKind};
use bivium_interface::{
    CallHandle, CallId, Granted, LogRecord, Manifest, MethodInfo, PluginError, Progress, Result, Stats,
};
#[cfg(feature = "python")]
use bivium_worker::not_held;
use serde::Serialize;
use tokio::sync::broadcast;

use super::PluginManager;
use crate::monitor::{SystemSnapshot, snapshot};
use crate::scheduler::Need;

/// What is known about a plugin without asking it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PluginInfo {
    /// The name by which it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A description in one sentence.
    pub description: String,
    /// What kind of work it does.
    pub category: Option<String>,
    /// Its runtime; none for a type of the host's own.
    pub runtime: Option<RuntimeKind>,
    /// Its manifest file; none for a type of the host's own, and for a manifest in memory.
    #[serde(serialize_with = "bivium_interface::lossy::optional")]
    pub manifest: Option<PathBuf>,
    /// What the machine must have for it.
    pub resources: Resources,
    /// Whether it is loaded.
    pub loaded: bool,
    /// Whether calls to it are allowed.
    pub enabled: bool,
}

/// A running or waiting call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningCall {
    /// Controls and observes it.
    pub handle: CallHandle,
    /// Its progress.
    pub progress: Progress,
    /// Its position in the plugin's queue if it waits, where 1 is next.
    pub position: Option<usize>,
}

impl PluginManager {
    /// The plugin that is found under this name, loaded or not.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub fn found_info(&self, name: &str) -> Result<PluginInfo> {
        let manifest = self.manifest(name)?;
        Ok(self.info_of(&manifest))
    }

    /// The plugin that is loaded under this name.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if it is not loaded.
    pub fn loaded_info(&self, name: &str) -> Result<PluginInfo> {
        let loaded = self.loaded(name)?;
        let copy = loaded.copy()?;
        let mut info = match copy.manifest() {
            Some(manifest) => self.info_of(manifest),
            None => PluginInfo {
                name: name.to_owned(),
                version: copy.plugin().version().to_owned(),
                description: String::new(),
                category: None,
                runtime: None,
                manifest: None,
                resources: Resources::default(),
                loaded: true,
                enabled: self.is_enabled(name).unwrap_or(true),
            },
        };
        info.loaded = true;
        Ok(info)
    }

    /// The runtime of a loaded plugin; none for a type of the host's own.
    pub(crate) fn runtime_of(&self, name: &str) -> Option<RuntimeKind> {
        let copy = self.loaded(name).ok()?.copy().ok()?;
        Some(copy.manifest()?.runtime.kind())
    }

    /// What the plugin is granted, and what its manifest asks for and is not granted.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub fn granted(&self, name: &str) -> Result<Granted> {
        Ok(self.inner.constructor.granted(&*self.manifest(name)?))
    }

    /// The permissions and limits of the plugin that this machine cannot enforce, or that the host's policy does not apply to it: one
    /// sentence each, which begins with the manifest's key. Empty for a component, for which all of them are enforced. Blocks for some
    /// milliseconds the first time.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub fn not_held(&self, name: &str) -> Result<Vec<String>> {
        let manifest = self.manifest(name)?;
        if manifest.python().is_none() {
            return Ok(Vec::new());
        }
        let granted = self.inner.constructor.granted(&manifest);
        let policy = &self.inner.constructor.options().policy;
        let trusting = policy.trusting().filter(|_| !granted.confined).map(|told| format!("permissions: {told}"));
        Ok(not_held(&granted).into_iter().chain(trusting).collect())
    }

    fn info_of(&self, manifest: &Arc<Manifest>) -> PluginInfo {
        // Not part of the expression below, which would hold the lock while it asks whether the plugin is enabled.
        let loaded = self.loaded_map().contains_key(&manifest.name);
        PluginInfo {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            category: manifest.category.clone(),
            runtime: Some(manifest.runtime.kind()),
            manifest: Some(manifest.path.clone()).filter(|path| !path.as_os_str().is_empty()),
            resources: manifest.resources.clone(),
            loaded,
            enabled: self.is_enabled(&manifest.name).unwrap_or(true),
        }
    }

    /// All plugins that the last [`discover`](Self::discover) found, by name.
    #[must_use]
    pub fn found(&self) -> Vec<PluginInfo> {
        let manifests: Vec<_> = self.found_map().values().cloned().collect();
        manifests.iter().map(|manifest| self.info_of(manifest)).collect()
    }

    /// All loaded plugins, by name.
    #[must_use]
    pub fn list(&self) -> Vec<PluginInfo> {
        let names: Vec<String> = self.loaded_map().keys().cloned().collect();
        names.iter().filter_map(|name| self.loaded_info(name).ok()).collect()
    }

    /// The categories of all plugins that are found.
    #[must_use]
    pub fn found_categories(&self) -> BTreeSet<String> {
        self.found().into_iter().filter_map(|info| info.category).collect()
    }

    /// The categories of all loaded plugins.
    #[must_use]
    pub fn loaded_categories(&self) -> BTreeSet<String> {
        self.list().into_iter().filter_map(|info| info.category).collect()
    }

    /// The plugins that are found in a category.
    #[must_use]
    pub fn found_in_category(&self, category: &str) -> Vec<PluginInfo> {
        in_category(self.found(), category)
    }

    /// The loaded plugins of a category.
    #[must_use]
    pub fn loaded_in_category(&self, category: &str) -> Vec<PluginInfo> {
        in_category(self.list(), category)
    }

    /// The plugin's methods, as far as they are known.
    ///
    /// # Errors
    /// `unavailable` if it is not loaded; those of the plugin.
    pub async fn methods(&self, name: &str) -> Result<Vec<MethodInfo>> {
        let copy = self.loaded(name)?.copy()?;
        copy.plugin().methods().await
    }

    /// Counters and use of resources.
    ///
    /// # Errors
    /// `unavailable` if it is not loaded; those of the plugin.
    pub async fn stats(&self, name: &str) -> Result<Stats> {
        let copy = self.loaded(name)?.copy()?;
        let mut stats = copy.plugin().stats().await?;
        let machine = match stats.instances.iter().any(|instance| !instance.pids.is_empty()) {
            true => Some(snapshot(&self.inner.layers.monitor).await),
            false => None,
        };
        for instance in &mut stats.instances {
            instance.gpu_memory_bytes = machine.as_ref().and_then(|machine| machine.gpu_memory_of(&instance.pids));
        }
        Ok(stats)
    }

    /// The plugin's running and waiting calls, with their progress.
    ///
    /// # Errors
    /// `unavailable` if it is not loaded.
    pub fn calls(&self, name: &str) -> Result<Vec<RunningCall>> {
        let loaded = self.loaded(name)?;
        let copy = loaded.copy().ok();
        let running = |handle: CallHandle| {
            let progress = handle.progress().borrow().clone();
            let position = copy.as_ref().and_then(|copy| copy.plugin().position(handle.id()));
            RunningCall { handle, progress, position }
        };
        Ok(loaded.calls().into_iter().map(running).collect())
    }

    /// The progress of the plugin's most recent call; `None` if it has no call. To see each call, use [`calls`](Self::calls).
    ///
    /// # Errors
    /// `unavailable` if it is not loaded.
    pub fn progress(&self, name: &str) -> Result<Option<Progress>> {
        Ok(self.calls(name)?.pop().map(|call| call.progress))
    }

    /// Cancels all calls of the plugin and returns their number. Does not wait for their end.
    ///
    /// # Errors
    /// `unavailable` if it is not loaded.
    pub fn cancel(&self, name: &str) -> Result<usize> {
        let calls = self.loaded(name)?.calls();
        calls.iter().for_each(CallHandle::cancel);
        Ok(calls.len())
    }

    /// Cancels one call. Does not wait for its end.
    ///
    /// # Errors
    /// `not-found` if there is no such call.
    pub fn cancel_call(&self, id: CallId) -> Result<()> {
        let loaded: Vec<_> = self.loaded_map().values().cloned().collect();
        let call = loaded.iter().flat_map(|loaded| loaded.calls()).find(|call| call.id() == id);
        call.map(|call| call.cancel()).ok_or_else(|| PluginError::not_found(format!("there is no call {id}")))
    }

    /// The last `count` log records of the plugin, oldest first.
    ///
    /// # Errors
    /// `unavailable` if it is not loaded.
    pub fn logs(&self, name: &str, count: usize) -> Result<Vec<LogRecord>> {
        Ok(self.loaded(name)?.log.tail(count))
    }

    /// Receives the plugin's log records from now on.
    ///
    /// # Errors
    /// `unavailable` if it is not loaded.
    pub fn follow_logs(&self, name: &str) -> Result<broadcast::Receiver<LogRecord>> {
        Ok(self.loaded(name)?.log.follow())
    }

    /// The number of live component instances of all plugins, including those that are being freed.
    #[must_use]
    pub fn component_instances(&self) -> usize {
        self.inner.constructor.component_instances()
    }

    /// Why no call of the plugin would ever run on this machine: its manifest names other platforms, or asks for a GPU that is not there, or
    /// for more memory or processors than there are. `None` if it may. Loading fails with this. Blocks while the machine is measured.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub fn call_refusal(&self, name: &str) -> Result<Option<PluginError>> {
        Ok(self.refusal_of(&*self.manifest(name)?))
    }

    /// As [`call_refusal`](Self::call_refusal), for the plugin with this manifest.
    pub(super) fn refusal_of(&self, manifest: &Manifest) -> Option<PluginError> {
        if let Some(refusal) = refusal_of_platform(manifest) {
            return Some(refusal);
        }
        let need = Need::new(&manifest.name, &manifest.resources, Vec::new(), 0);
        let of_gpus = || {
            let access = self.inner.constructor.device_access(manifest)?;
            access.devices.refusal(access.need).map(|error| error.with_plugin(&manifest.name))
        };
        self.inner.layers.scheduler.refusal(&need).or_else(of_gpus)
    }

    /// The current state of the machine: processors, memory, GPUs.
    #[must_use]
    pub fn system(&self) -> SystemSnapshot {
        self.inner.layers.monitor.snapshot()
    }
}

/// Why the plugin does not run on this platform, if its manifest names only others.
pub(super) fn refusal_of_platform(manifest: &Manifest) -> Option<PluginError> {
    let here = Resources::this_platform();
    let platforms = &manifest.resources.platforms;
    let refusal = || {
        PluginError::unavailable(format!("it runs on {}, and this machine is {here}", platforms.join(" or ")))
            .with_plugin(&manifest.name)
            .with_help("run it on such a machine, or correct `resources.platforms` in its manifest")
    };
    (!manifest.resources.runs_on(&here)).then(refusal)
}

fn in_category(mut plugins: Vec<PluginInfo>, category: &str) -> Vec<PluginInfo> {
    plugins.retain(|info| info.category.as_deref() == Some(category));
    plugins
}

#[cfg(not(feature = "python"))]
fn not_held(_: &Granted) -> Vec<String> {
    Vec::new()
}
