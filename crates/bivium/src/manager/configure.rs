//! Configurations of loaded plugins, and those saved for later hosts.

use std::collections::BTreeMap;

use bivium_interface::Result;
use serde_json::Value;

use super::PluginManager;
use crate::config::merge;

impl PluginManager {
    /// The configuration in force, defaults included.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if the plugin is not loaded.
    pub fn config(&self, name: &str) -> Result<Value> {
        Ok(Value::clone(&self.loaded(name)?.copy()?.config()))
    }

    /// The configurations of all loaded plugins.
    #[must_use]
    pub fn configs(&self) -> BTreeMap<String, Value> {
        let loaded: Vec<_> = self.loaded_map().values().cloned().collect();
        let config = |copy: std::sync::Arc<super::loaded::Copy>| Value::clone(&copy.config());
        loaded.iter().filter_map(|loaded| Some((loaded.name.clone(), config(loaded.copy().ok()?)))).collect()
    }

    /// JSON Schema of the plugin's configuration.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if the plugin is not loaded.
    pub fn config_schema(&self, name: &str) -> Result<Value> {
        Ok(self.loaded(name)?.copy()?.schema.document().clone())
    }

    /// Changes the configuration of a running plugin: `changes` is a JSON Merge Patch (RFC 7396) over the one in
    /// force. The whole is checked, completed with defaults and applied to all instances or to none; an error
    /// leaves everything as it was. Running calls end first, and calls made meanwhile wait. Gives the new
    /// configuration.
    ///
    /// # Errors
    /// `invalid-config` listing every violation; those of the plugin's `initialize`.
    pub async fn update_config(&self, name: &str, changes: Value) -> Result<Value> {
        let loaded = self.loaded(name)?;
        let _turn = loaded.turn.lock().await;
        let copy = loaded.copy()?;
        let mut config = Value::clone(&copy.config());
        merge(&mut config, changes);
        let config = copy.schema.complete(config).map_err(|error| error.with_plugin(name))?;
        copy.plugin.initialize(config.clone()).await.map_err(|error| error.with_plugin(name))?;
        copy.set_config(config.clone());
        Ok(config)
    }

    /// As [`update_config`](Self::update_config), and saves the result for later hosts.
    ///
    /// # Errors
    /// As there; `internal` if it cannot be saved: it is in force all the same.
    pub async fn save_config(&self, name: &str, changes: Value) -> Result<Value> {
        let config = self.update_config(name, changes).await?;
        let mut saved = self.inner.settings.read(name)?;
        saved.config = Some(config.clone());
        self.inner.settings.write(name, &saved)?;
        Ok(config)
    }
}
