//! Loading, registering, enabling, reloading and unloading.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bivium_instances::DRAIN_TIME;
use bivium_interface::{LogLevel, LogSource, Manifest, PluginError, PluginInterface, Result};
use bivium_records::{FailureLog, PluginLog};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::PluginManager;
use super::freed::Freed;
use super::layers::Usage;
use super::loaded::{Config, Loaded, PluginCopy, disabled};
use super::observe::refusal_of_platform;
use crate::catch_panic::CatchPanicPlugin;
use crate::config::{Schema, merge};
use crate::scheduler::Need;
use crate::sources;

/// At least this many plugins are loaded at once, even with fewer processors, because loading also waits for the disk.
const FEWEST_AT_ONCE: usize = 4;

/// The result of loading one of several plugins.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadReport {
    /// The plugin.
    pub name: String,
    /// The error, if the plugin is not loaded.
    pub result: Result<()>,
}

/// The result of unloading one of several plugins.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnloadReport {
    /// The plugin.
    pub name: String,
    /// The memory that it freed, or the error of its end.
    pub result: Result<Freed>,
}

impl PluginManager {
    /// Loads a plugin with its saved configuration or its defaults. Does nothing if it is loaded already. Starts an instance, so that a
    /// plugin that cannot start fails here. Dropping the future stops loading and frees everything. Before anything is made or started, a
    /// plugin is refused whose calls this machine could never run ([`call_refusal`](Self::call_refusal)).
    ///
    /// # Errors
    /// `not-found`, `invalid-manifest`, `invalid-config`, `resource-exhausted`, `unavailable`, and every error of starting the plugin.
    pub async fn load(&self, name: &str) -> Result<()> {
        self.load_configured(name, |saved| saved).await
    }

    /// Loads a plugin with this configuration, which is not saved. It is checked against the plugin's schema and completed with its
    /// defaults.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_with(&self, name: &str, config: Value) -> Result<()> {
        self.load_configured(name, |_| config).await
    }

    /// Loads a plugin with its saved configuration changed by a JSON Merge Patch (RFC 7396). Nothing is saved.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_changed(&self, name: &str, changes: Value) -> Result<()> {
        let changed = |mut saved| {
            merge(&mut saved, changes);
            saved
        };
        self.load_configured(name, changed).await
    }

    pub(crate) fn is_loaded(&self, name: &str) -> bool {
        self.loaded_map().get(name).is_some_and(|loaded| !loaded.is_gone())
    }

    async fn load_configured(&self, name: &str, config: impl FnOnce(Value) -> Value) -> Result<()> {
        if self.is_loaded(name) {
            return Ok(());
        }
        let manifest = self.manifest(name)?;
        let _turn = self.turn(name).await;
        if self.is_loaded(name) {
            return Ok(());
        }
        let saved = self.inner.settings.read(name)?;
        let log = self.log(name);
        let base = saved.config.unwrap_or(Value::Null);
        let copy = self.make(&manifest, config(base.clone()), &log).await?;
        // Read again, because it may have been disabled while it started.
        let enabled = self.inner.settings.read(name)?.enabled;
        self.loaded_map().insert(name.to_owned(), Loaded::new(name, log, enabled, base, copy));
        Ok(())
    }

    /// Loads every plugin that is found and enabled, as many at once as the machine has processors, and reports on each. A plugin that
    /// fails does not stop the others.
    pub async fn load_all(&self) -> Vec<LoadReport> {
        let names: Vec<String> = self.discover().found.into_keys().collect();
        let loads = names.into_iter().map(|name| async move {
            let result = match self.is_enabled(&name) {
                Ok(true) => self.load(&name).await,
                Ok(false) => return None,
                Err(error) => Err(error),
            };
            Some(LoadReport { name, result })
        });
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        at_most(processors.max(FEWEST_AT_ONCE), loads).await.into_iter().flatten().collect()
    }

    /// Adds a plugin of the host's own type to the manager, with this configuration. A panic in it becomes an error of the call
    /// (`plugin-failed`, with the type `panic`).
    ///
    /// # Errors
    /// `invalid-input` if a plugin with its name is loaded; `invalid-config`; those of its `initialize`.
    pub async fn register(&self, plugin: Arc<dyn PluginInterface>, config: Value) -> Result<()> {
        let plugin: Arc<dyn PluginInterface> = Arc::new(CatchPanicPlugin::new(plugin)?);
        let name = plugin.name().to_owned();
        check_name(&name)?;
        let _turn = self.turn(&name).await;
        if self.loaded_map().contains_key(&name) {
            return Err(PluginError::invalid_input("a plugin with this name is already loaded").with_plugin(name));
        }
        let saved = self.inner.settings.read(&name)?;
        let copy = self.configured(plugin, None, config).await?;
        let base = saved.config.unwrap_or(Value::Null);
        self.loaded_map().insert(name.clone(), Loaded::new(&name, self.log(&name), saved.enabled, base, copy));
        Ok(())
    }

    /// The plugin itself. Calls of it do not pass the manager's scheduler and lists.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if it is not loaded.
    pub fn get(&self, name: &str) -> Result<Arc<dyn PluginInterface>> {
        Ok(Arc::clone(&self.loaded(name)?.copy()?.layered.admitted.plugin))
    }

    /// Reads the manifest again and replaces the running copy of the plugin by a new copy with the same configuration. The new copy is
    /// started first and then takes the new calls; the old copy ends when its calls have ended. If the new copy fails, the old one stays.
    /// No call is refused meanwhile. Returns after the switch, without waiting for the end of the old copy.
    ///
    /// For a plugin with `requires_gpu`, the old copy ends first, because two models may not fit: its calls end, and new calls wait for the
    /// new copy. If the new copy fails, a copy of the old one is started in its place.
    ///
    /// # Errors
    /// Those of [`load`](Self::load). The plugin then runs as before, unless the error says otherwise.
    pub async fn reload(&self, name: &str) -> Result<()> {
        let loaded = self.loaded(name)?;
        let _turn = loaded.turn.lock().await;
        let old = loaded.copy()?;
        let Some(before) = old.manifest() else {
            return Err(PluginError::invalid_input("a plugin that the host registered cannot be reloaded")
                .with_plugin(name)
                .with_help("unload it and register another"));
        };
        let manifest = match self.inner.given.get(name) {
            Some(given) => Arc::clone(given),
            None => Arc::new(crate::discovery::read_completed(&before.path, &self.inner.search_paths)?),
        };
        if manifest.name != name {
            return Err(PluginError::invalid_manifest(format!(
                "{} now declares another plugin, {:?}",
                before.path.display(),
                manifest.name
            ))
            .with_plugin(name));
        }
        let config = Value::clone(&old.config().given);
        if old.requires_gpu() || manifest.resources.gpus() > 0 {
            // Before the old copy ends for it.
            self.check_fits(&manifest).await.inspect_err(|error| FailureLog::new(loaded.log.clone()).load(error))?;
            self.replace_old_first(&loaded, &old, before, &manifest, config).await?;
        } else {
            let new = self.make(&manifest, config, &loaded.log).await?;
            loaded.set_ready(new);
            loaded.retire_later(old);
        }
        self.found_map().insert(name.to_owned(), manifest);
        Ok(())
    }

    async fn replace_old_first(
        &self,
        loaded: &Loaded,
        old: &PluginCopy,
        before: &Arc<Manifest>,
        manifest: &Arc<Manifest>,
        config: Value,
    ) -> Result<()> {
        loaded.set_swapping();
        // If the reload is dropped midway, calls must not wait for ever.
        let unfinished = Unfinished(Some(loaded));
        loaded.note_end(loaded.retire(old).await);
        let made = self.make(manifest, config.clone(), &loaded.log).await;
        let (copy, result) = match made {
            Ok(new) => (Ok(new), Ok(())),
            Err(error) => (self.make(before, config, &loaded.log).await, Err(error)),
        };
        unfinished.settle();
        match copy {
            Ok(copy) => {
                loaded.set_ready(copy);
                result
            }
            Err(second) => {
                let error = PluginError::unavailable(format!(
                    "the reload failed, and the previous plugin could not be started again ({})",
                    second.message()
                ));
                let error = error.with_plugin(&loaded.name).with_help("unload it and load it again");
                loaded.set_gone(error.clone());
                Err(result.err().map_or(error.clone(), |first| first.with_help(error.to_string())))
            }
        }
    }

    /// Ends a plugin. Running calls get a short time and are then cancelled, and every instance is freed. Returns the memory that it used
    /// before and uses afterwards.
    ///
    /// # Errors
    /// `not-found` or `unavailable` if it is not loaded; those of its `cleanup`, after which it is still unloaded.
    pub async fn unload(&self, name: &str) -> Result<Freed> {
        let _turn = self.turn(name).await;
        let loaded = self.loaded(name)?;
        // A task that configures or reloads the plugin may be waiting for a call without a deadline.
        let _configuring = match timeout(DRAIN_TIME, loaded.turn.lock()).await {
            Ok(turn) => turn,
            Err(_) => {
                loaded.cancel_all();
                loaded.turn.lock().await
            }
        };
        let copy = loaded.copy();
        loaded.set_gone(
            PluginError::unavailable("the plugin is not loaded").with_plugin(name).with_help("load it first"),
        );
        self.loaded_map().remove(name);
        // After a failed reload there is nothing to end.
        let Ok(copy) = copy else { return Ok(Freed::default()) };
        let before = Usage::of(copy.plugin(), Some(&self.inner.layers.monitor)).await;
        let ended = loaded.end(&copy).await;
        let freed = Freed::since(before, copy.plugin(), &self.inner.layers.monitor).await;
        loaded.log.push(LogLevel::Debug, LogSource::Host, 0, None, &format!("unloaded: {freed}"));
        ended.map(|()| freed)
    }

    /// Unloads all plugins at the same time, and reports on each.
    pub async fn unload_all(&self) -> Vec<UnloadReport> {
        let names: Vec<String> = self.loaded_map().keys().cloned().collect();
        let unloads = names.into_iter().map(|name| async move {
            let result = self.unload(&name).await;
            UnloadReport { name, result }
        });
        join_all(unloads).await
    }

    /// Allows calls to the plugin again, now and in later hosts. Blocks while another program saves settings.
    ///
    /// # Errors
    /// `not-found`; `denied`, `resource-exhausted`, `unavailable` (another program holds the lock of the settings) or
    /// `internal` if it cannot be saved.
    pub fn enable(&self, name: &str) -> Result<()> {
        self.set_enabled(name, true)
    }

    /// Refuses calls to the plugin with `unavailable`, now and in later hosts, until it is enabled. Running calls are not stopped.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub fn disable(&self, name: &str) -> Result<()> {
        self.set_enabled(name, false)
    }

    fn set_enabled(&self, name: &str, enabled: bool) -> Result<()> {
        let loaded = self.loaded_map().get(name).cloned();
        if loaded.is_none() {
            self.manifest(name)?;
        }
        self.inner.settings.change(name, |saved| {
            saved.enabled = enabled;
            Ok(())
        })?;
        if let Some(loaded) = loaded {
            loaded.enabled.store(enabled, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether calls to the plugin are allowed.
    ///
    /// # Errors
    /// `not-found`; `invalid-config` if the saved settings cannot be read.
    pub fn is_enabled(&self, name: &str) -> Result<bool> {
        if let Some(loaded) = self.loaded_map().get(name) {
            return Ok(loaded.enabled.load(Ordering::Relaxed));
        }
        self.manifest(name)?;
        Ok(self.inner.settings.read(name)?.enabled)
    }

    /// Fails if the plugin is disabled, with the error that a call would get. Use it to avoid loading the plugin in vain.
    ///
    /// # Errors
    /// `unavailable` if it is disabled; those of [`is_enabled`](Self::is_enabled).
    pub fn check_enabled(&self, name: &str) -> Result<()> {
        match self.is_enabled(name)? {
            true => Ok(()),
            false => Err(disabled(name)),
        }
    }

    /// Makes a copy. Why it cannot is in the plugin's log, and so is that it was given up.
    async fn make(&self, manifest: &Arc<Manifest>, config: Value, log: &PluginLog) -> Result<Arc<PluginCopy>> {
        let given_up = GivenUp(Some(log));
        let made = async {
            self.check_fits(manifest).await?;
            let plugin = self.constructed(manifest, log).await.inspect_err(|error| {
                self.inner.constructor.audit_refused_load(manifest, log, error);
            })?;
            self.configured(plugin, Some(Arc::clone(manifest)), config).await
        };
        let made = made.await;
        given_up.settle();
        made.inspect_err(|error| FailureLog::new(log.clone()).load(error))
    }

    /// Fails if this machine could never run the plugin's calls. Measures the machine only for a plugin that asks for something.
    async fn check_fits(&self, manifest: &Arc<Manifest>) -> Result<()> {
        if let Some(refusal) = refusal_of_platform(manifest) {
            return Err(refusal);
        }
        if manifest.resources.gpus() == 0 && Need::new(&manifest.name, &manifest.resources, Vec::new(), 0).is_nothing()
        {
            return Ok(());
        }
        let (this, manifest) = (self.clone(), Arc::clone(manifest));
        // Fails only when the async runtime ends.
        match tokio::task::spawn_blocking(move || this.refusal_of(&manifest)).await {
            Ok(Some(refusal)) => Err(refusal),
            _ => Ok(()),
        }
    }

    async fn constructed(&self, manifest: &Arc<Manifest>, log: &PluginLog) -> Result<Arc<dyn PluginInterface>> {
        let granted = self.inner.constructor.granted(manifest);
        // Needed only if the plugin may write somewhere.
        let found = std::iter::once_with(|| self.found_map().clone().into_values()).flatten();
        let found = found.chain([Arc::clone(manifest)]);
        sources::check(&granted, &self.inner.search_paths, found).map_err(|error| error.with_plugin(&manifest.name))?;
        self.inner.constructor.construct(manifest, granted, log.clone()).await
    }

    /// Puts the layers around a plugin, completes the configuration and applies it. If the plugin refuses the configuration, it is ended.
    async fn configured(
        &self,
        plugin: Arc<dyn PluginInterface>,
        manifest: Option<Arc<Manifest>>,
        config: Value,
    ) -> Result<Arc<PluginCopy>> {
        let layered = self.inner.layers.around(plugin, manifest.clone())?;
        let plugin = layered.plugin();
        let attempt = async {
            let manifest = manifest.as_deref();
            let schema = match manifest.and_then(Schema::of_manifest) {
                Some(schema) => schema?,
                None => Schema::of_plugin(manifest, plugin.config_schema().await?)?,
            };
            let complete = schema.complete(config.clone())?;
            plugin.initialize(complete.clone()).await?;
            Ok((schema, Config { given: Arc::new(config), complete: Arc::new(complete) }))
        };
        match attempt.await {
            Ok((schema, config)) => Ok(PluginCopy::new(layered, schema, config)),
            Err(error) => {
                let error: PluginError = error;
                // The first error is the one that is returned.
                let _ = plugin.cleanup().await;
                Err(error.with_plugin(plugin.name()))
            }
        }
    }
}

/// Refuses names that a manifest could not have, because names become file names.
fn check_name(name: &str) -> Result<()> {
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if first && rest && name.len() <= 64 {
        return Ok(());
    }
    Err(PluginError::invalid_input(format!("{name:?} cannot be a plugin's name"))
        .with_help("use at most 64 letters, digits, `.`, `_` and `-`, with a letter or digit first"))
}

/// Runs all futures, at most `most` at once, and returns their results in order.
async fn at_most<T>(most: usize, all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let places = &Semaphore::new(most);
    let all = all.into_iter().map(|one| async move {
        // The semaphore is never closed.
        let _place = places.acquire().await;
        one.await
    });
    join_all(all).await
}

/// Writes into the plugin's log that its load was given up, if it is dropped midway.
struct GivenUp<'a>(Option<&'a PluginLog>);

impl GivenUp<'_> {
    fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.0 {
            log.note(
                LogLevel::Warn,
                None,
                "the plugin was not loaded: its load was given up, by a deadline or a cancellation",
            );
        }
    }
}

/// Marks a plugin as gone if its reload is dropped midway.
struct Unfinished<'a>(Option<&'a Loaded>);

impl Unfinished<'_> {
    fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(loaded) = self.0 {
            let error = PluginError::unavailable("a reload of the plugin was interrupted");
            loaded.set_gone(error.with_plugin(&loaded.name).with_help("unload it and load it again"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn all_futures_run_but_no_more_than_the_limit_at_once() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = async |n: usize| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Futures that begin earlier end later.
            for _ in n..20 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            n
        };
        let done = at_most(3, (0..20).map(one)).await;
        assert_eq!(done, Vec::from_iter(0..20));
        assert_eq!(most.into_inner(), 3);
    }
}
