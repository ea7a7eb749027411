//! Configurations of loaded plugins, and saved configurations.

use std::collections::BTreeMap;
use std::sync::Arc;

use bivium_interface::{PluginError, Result};
use serde_json::Value;

use super::PluginManager;
use super::loaded::{Config, PluginCopy};
use crate::config::{Schema, combine, merge};

impl PluginManager {
    /// The current configuration, defaults included.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if the plugin is not loaded.
    pub fn config(&self, name: &str) -> Result<Value> {
        Ok(Value::clone(&self.loaded(name)?.copy()?.config().complete))
    }

    /// The configurations of all loaded plugins.
    #[must_use]
    pub fn configs(&self) -> BTreeMap<String, Value> {
        let loaded: Vec<_> = self.loaded_map().values().cloned().collect();
        let config = |copy: Arc<PluginCopy>| Value::clone(&copy.config().complete);
        loaded.iter().filter_map(|loaded| Some((loaded.name.clone(), config(loaded.copy().ok()?)))).collect()
    }

    /// JSON Schema of the plugin's configuration.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if the plugin is not loaded.
    pub fn config_schema(&self, name: &str) -> Result<Value> {
        Ok(self.loaded(name)?.copy()?.schema.document().clone())
    }

    /// Checks a configuration against the `config_schema` in the plugin's manifest. None of the plugin's code runs. Without such a schema
    /// nothing is checked; then the plugin checks the configuration when it is loaded.
    ///
    /// # Errors
    /// `not-found`; `invalid-config`, which lists every violation.
    pub fn check_config(&self, name: &str, config: Value) -> Result<()> {
        let manifest = self.manifest(name)?;
        let Some(schema) = Schema::of_manifest(&manifest) else { return Ok(()) };
        schema.and_then(|schema| schema.complete(config)).map(drop).map_err(|error| error.with_plugin(name))
    }

    /// Changes the configuration of a loaded plugin. `changes` is a JSON Merge Patch (RFC 7396) for the current configuration. The result
    /// is checked, completed with defaults and applied to all instances or to none; after an error everything is as before. Running calls
    /// end first, and calls made meanwhile wait. Returns the new configuration.
    ///
    /// # Errors
    /// `invalid-config`, which lists every violation; those of the plugin's `initialize`.
    pub async fn update_config(&self, name: &str, changes: Value) -> Result<Value> {
        let loaded = self.loaded(name)?;
        let _turn = loaded.turn.lock().await;
        let copy = loaded.copy()?;
        self.apply(name, &copy, changes).await.map(|config| Value::clone(&config.complete))
    }

    async fn apply(&self, name: &str, copy: &PluginCopy, changes: Value) -> Result<Config> {
        let named = |error: PluginError| error.with_plugin(name);
        // The patch applies to the configuration without defaults, so that defaults that were never set can change with the schema.
        let mut given = Value::clone(&copy.config().given);
        merge(&mut given, changes);
        let complete = copy.schema.complete(given.clone()).map_err(named)?;
        copy.plugin().initialize(complete.clone()).await.map_err(named)?;
        let config = Config { given: Arc::new(given), complete: Arc::new(complete) };
        copy.set_config(config.clone());
        Ok(config)
    }

    /// As [`update_config`](Self::update_config), and saves the result for later hosts. Changes that other programs have saved since this
    /// host read the configuration are kept, except where this host has changed the same keys. The merged result must fit the schema.
    ///
    /// # Errors
    /// As [`update_config`](Self::update_config). Errors of saving, after which the plugin still has the new configuration:
    /// `invalid-config` if it cannot be merged with what another program has saved; `denied`, `resource-exhausted`, `unavailable` (another
    /// program holds the lock of the settings) or `internal` if it cannot be written.
    pub async fn save_config(&self, name: &str, changes: Value) -> Result<Value> {
        let loaded = self.loaded(name)?;
        let _turn = loaded.turn.lock().await;
        let copy = loaded.copy()?;
        let config = self.apply(name, &copy, changes).await?;
        let (store, plugin, base) = (self.inner.settings.clone(), name.to_owned(), loaded.base());
        let given = Arc::clone(&config.given);
        let save = move || {
            store.change(&plugin, |saved| {
                let on_disk = saved.config.take().unwrap_or(Value::Null);
                let merged = combine(&base, &given, &on_disk);
                if merged != *given {
                    copy.schema.complete(merged.clone())?;
                }
                saved.config = Some(merged);
                Ok(())
            })
        };
        let saved = tokio::task::spawn_blocking(save).await;
        saved
            .map_err(|error| PluginError::internal(format!("the configuration was not saved: {error}")))
            .flatten()
            .map_err(|error| error.with_plugin(name))?;
        loaded.set_base(Value::clone(&config.given));
        Ok(Value::clone(&config.complete))
    }

    /// The plugin's saved configuration, without defaults; `None` if none is saved. Blocks on the file system.
    ///
    /// # Errors
    /// `not-found`; `invalid-config` if the saved configuration cannot be read.
    pub fn saved_config(&self, name: &str) -> Result<Option<Value>> {
        self.manifest(name)?;
        self.inner.settings.read(name).map(|saved| saved.config).map_err(|error| error.with_plugin(name))
    }

    /// Deletes the plugin's saved configuration, so that later loads use its defaults. A loaded plugin is not changed. Returns whether
    /// there was a saved configuration. Blocks while another program saves settings.
    ///
    /// # Errors
    /// `not-found`; `denied`, `resource-exhausted`, `unavailable` (another program holds the lock of the settings) or `internal`
    /// if it cannot be written.
    pub fn reset_config(&self, name: &str) -> Result<bool> {
        self.manifest(name)?;
        let forgotten = self.inner.settings.change(name, |saved| Ok(saved.config.take().is_some()));
        forgotten.map_err(|error| error.with_plugin(name))
    }
}
