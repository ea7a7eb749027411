//! Saves settings of each plugin for later hosts: its configuration and whether it is enabled.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bivium_interface::{PluginError, Result, exact};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One small JSON file for each plugin, in the platform's data directory unless the host names another.
///
/// The directory's lock is held while a file is read, changed and written, so that no change of another program is lost. The new file is
/// written completely, synced to disk and renamed into place, so that nobody sees an incomplete file, even if the host is killed.
#[derive(Clone)]
pub(crate) struct SettingsStore {
    dir: PathBuf,
    /// How long to wait for the lock.
    patience: Duration,
}

/// The lock file of the directory. The settings files themselves cannot be locked, because they are replaced.
const LOCK: &str = ".lock";
const PATIENCE: Duration = Duration::from_secs(10);
const TRY: Duration = Duration::from_millis(5);

/// The saved settings of one plugin.
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
        Self { dir: data_dir.join("settings"), patience: PATIENCE }
    }

    fn file(&self, plugin: &str) -> PathBuf {
        // Plugin names contain no path separator and start with a letter or digit (`Manifest::parse`, `register`).
        self.dir.join(format!("{plugin}.json"))
    }

    pub(crate) fn read(&self, plugin: &str) -> Result<SavedSettings> {
        let file = self.file(plugin);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SavedSettings::default()),
            Err(error) => return Err(failed("read", &file, &error)),
        };
        exact::from_str(&text).map_err(|error| {
            PluginError::invalid_config(format!("the saved settings {} are not valid: {error}", file.display()))
                .with_help("correct or delete that file")
        })
    }

    /// Changes the saved settings of a plugin, unless `change` fails. Blocks on the disk, and on other programs that change settings in the
    /// same directory.
    ///
    /// # Errors
    /// `unavailable` if another program holds the lock for ten seconds; `denied`, `invalid-input`, `resource-exhausted` or `internal` if the file cannot be
    /// written; `invalid-config` if the existing file cannot be read; those of `change`.
    pub(crate) fn change<T>(&self, plugin: &str, change: impl FnOnce(&mut SavedSettings) -> Result<T>) -> Result<T> {
        let file = self.file(plugin);
        let lock = self.lock().map_err(|error| failed("write", &file, &error))?;
        let mut settings = self.read(plugin)?;
        let changed = change(&mut settings)?;
        self.write(plugin, &settings, &lock).map_err(|error| failed("write", &file, &error))?;
        Ok(changed)
    }

    /// Takes the lock. Dropping the returned file releases it.
    fn lock(&self) -> io::Result<File> {
        std::fs::create_dir_all(&self.dir)?;
        let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(LOCK))?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if start.elapsed() >= self.patience => {
                    let lock = self.dir.join(LOCK);
                    let seconds = self.patience.as_secs();
                    let why = format!("another program has held the lock {} for {seconds} s", lock.display());
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(TRY),
            }
        }
    }

    /// Only one program writes at a time, so the temporary file always has the same name. A killed program leaves at most one such file,
    /// which the next one replaces.
    fn write(&self, plugin: &str, settings: &SavedSettings, _lock: &File) -> io::Result<()> {
        let unfinished = self.dir.join(format!(".{plugin}.json.new"));
        let mut text = serde_json::to_vec_pretty(settings)?;
        text.push(b'\n');
        let written = || {
            match std::fs::remove_file(&unfinished) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            new.write_all(&text)?;
            new.sync_all()?;
            std::fs::rename(&unfinished, self.file(plugin))?;
            File::open(&self.dir)?.sync_all()
        };
        written().inspect_err(|_| {
            let _ = std::fs::remove_file(&unfinished);
        })
    }
}

/// What to do about a data directory that cannot be used.
const OTHER: &str = "name another data directory (`--data-dir`, BIVIUM_DATA_DIR, `ManagerBuilder::data_dir`)";

fn failed(verb: &str, file: &Path, error: &io::Error) -> PluginError {
    let message = format!("cannot {verb} the saved settings {}: {error}", file.display());
    match error.kind() {
        ErrorKind::TimedOut => {
            PluginError::unavailable(message).with_help("try again, or end the program that holds the lock")
        }
        ErrorKind::FileTooLarge => {
            PluginError::resource_exhausted(message).with_help("raise the limit of file size (`ulimit -f`)")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            PluginError::resource_exhausted(message).with_help(format!("free some space there, or {OTHER}"))
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            PluginError::denied(message).with_help(format!("check the permissions of that directory, or {OTHER}"))
        }
        // What was named as the data directory is none, and cannot become one.
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            PluginError::invalid_input(message).with_help(OTHER)
        }
        _ => PluginError::internal(message).with_help(OTHER),
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;
    use serde_json::json;

    use super::*;

    fn disable(settings: &mut SavedSettings) -> Result<()> {
        settings.enabled = false;
        Ok(())
    }

    #[test]
    fn settings_are_kept_and_a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = SettingsStore::new(dir.path());
        assert_eq!(store.read("p").unwrap(), SavedSettings::default());
        let saved = SavedSettings { enabled: false, config: Some(json!({"a": 1})) };
        let save = |settings: &mut SavedSettings| {
            settings.clone_from(&saved);
            Ok(())
        };
        store.change("p", save).unwrap();
        assert_eq!(SettingsStore::new(dir.path()).read("p").unwrap(), saved);

        std::fs::write(dir.path().join("settings/q.json"), "{").unwrap();
        let error = store.read("q").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.to_string().contains("q.json"));
    }
    #[test]
    fn a_lock_that_another_holds_is_an_error_in_time_and_names_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let store = SettingsStore { patience: Duration::from_millis(50), ..SettingsStore::new(dir.path()) };
        let held = store.lock().unwrap();
        let error = store.change("p", |_| Ok(())).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert!(error.to_string().contains("settings/.lock"), "{error}");
        drop(held);
        store.change("p", disable).unwrap();
        assert!(!store.read("p").unwrap().enabled);
    }

    #[test]
    fn an_incomplete_file_of_a_killed_host_is_replaced_and_a_failed_change_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = SettingsStore::new(dir.path());
        let left = dir.path().join("settings/.p.json.new");
        std::fs::create_dir(dir.path().join("settings")).unwrap();
        std::fs::write(&left, "{\"enab").unwrap();
        assert_eq!(store.read("p").unwrap(), SavedSettings::default());
        store.change("p", disable).unwrap();
        let refused = store.change("p", |settings| {
            settings.enabled = true;
            Err::<(), _>(PluginError::invalid_config("no"))
        });
        assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidConfig);
        assert!(!left.exists() && !store.read("p").unwrap().enabled);
    }

    #[test]
    fn a_full_disk_is_an_error_and_existing_files_stay() {
        let Some(disk) = crate::small_disk::SmallDisk::new() else { return };
        let store = SettingsStore::new(disk.path());
        store.change("p", disable).unwrap();
        disk.fill();
        let large = json!({"a": "x".repeat(1 << 20)});
        let error = store.change("p", |settings| {
            settings.config = Some(large);
            Ok(())
        });
        let error = error.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
        assert_eq!(store.read("p").unwrap(), SavedSettings { enabled: false, config: None });
        assert!(!disk.path().join("settings/.p.json.new").exists());
    }
}
