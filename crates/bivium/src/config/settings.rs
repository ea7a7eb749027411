//! What a host keeps of each plugin from one run to the next: its configuration and whether it is enabled.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bivium_interface::{PluginError, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One small JSON file for each plugin, in the platform's data directory unless the host names another. Written
/// whole and renamed into place, so that a reader or a killed host never sees half of one.
pub(crate) struct SettingsStore {
    dir: PathBuf,
    /// Taken while a file is read, changed and written.
    changing: Mutex<()>,
}

/// What is kept of one plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedSettings {
    #[serde(default = "enabled")]
    pub(crate) enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Value>,
}

impl Default for SavedSettings {
    fn default() -> Self {
        Self { enabled: true, config: None }
    }
}

fn enabled() -> bool {
    true
}

impl SettingsStore {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("settings"), changing: Mutex::new(()) }
    }

    fn file(&self, plugin: &str) -> PathBuf {
        // Plugin names hold no separator and start with a letter or digit (`Manifest::parse`, `register`).
        self.dir.join(format!("{plugin}.json"))
    }

    pub(crate) fn read(&self, plugin: &str) -> Result<SavedSettings> {
        let file = self.file(plugin);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SavedSettings::default()),
            Err(error) => return Err(failed("read", &file, &error)),
        };
        serde_json::from_str(&text).map_err(|error| {
            PluginError::invalid_config(format!("the saved settings {} are not valid: {error}", file.display()))
                .with_help("mend or delete that file")
        })
    }

    /// Changes what is kept of a plugin.
    pub(crate) fn change(&self, plugin: &str, change: impl FnOnce(&mut SavedSettings)) -> Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut settings = self.read(plugin)?;
        change(&mut settings);
        self.write(plugin, &settings)
    }

    fn write(&self, plugin: &str, settings: &SavedSettings) -> Result<()> {
        let file = self.file(plugin);
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.dir)?;
            let mut new = tempfile::NamedTempFile::new_in(&self.dir)?;
            serde_json::to_writer_pretty(&mut new, settings)?;
            new.write_all(b"\n")?;
            new.as_file().sync_all()?;
            new.persist(&file)?;
            Ok(())
        };
        write().map_err(|error| failed("write", &file, &error))
    }
}

fn failed(verb: &str, file: &Path, error: &std::io::Error) -> PluginError {
    PluginError::internal(format!("cannot {verb} the saved settings {}: {error}", file.display()))
        .with_help("check the permissions of that directory, or name another data directory")
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_kept_and_a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = SettingsStore::new(dir.path());
        assert_eq!(store.read("p").unwrap(), SavedSettings::default());
        let saved = SavedSettings { enabled: false, config: Some(json!({"a": 1})) };
        store.write("p", &saved).unwrap();
        assert_eq!(SettingsStore::new(dir.path()).read("p").unwrap(), saved);

        std::fs::write(dir.path().join("settings/q.json"), "{").unwrap();
        let error = store.read("q").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.to_string().contains("q.json"));
    }
}
