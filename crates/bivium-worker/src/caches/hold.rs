//! [`Kept`]: a plugin's cache, in use.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bivium_instances::PluginContext;
use bivium_interface::manifest::{PythonKind, PythonObject};
use bivium_interface::{LogLevel, LogSource};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{ABOUT, FILES, PLUGINS, bound};
use crate::environment;
use crate::environment::embedded::is_private;
use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;

/// Cleaning a cache takes no longer than this, unless the process that does it was stopped.
const CLEANING: Duration = Duration::from_secs(60);
/// How often a lock that another process holds is tried.
const TRY: Duration = Duration::from_millis(20);

/// A plugin's cache while it is in use. Nobody removes it meanwhile. When dropped, an empty cache is removed.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where its libraries write.
    pub(crate) files: PathBuf,
    directory: PathBuf,
    lock: Option<File>,
}

impl Kept {
    /// The cache of a plugin that is loaded. None if it cannot be used; the plugin's log says why.
    pub(crate) async fn of(
        places: &WorkerPlaces,
        manifest: &PythonManifest,
        context: &PluginContext,
    ) -> Option<Arc<Self>> {
        let cache = places.cache.clone().map_or_else(environment::cache_dir, Ok);
        let (manifest, granted) = (manifest.clone(), Arc::clone(&context.granted));
        let most = granted.limits.cache_mb.map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20));
        let taken = tokio::task::spawn_blocking(move || match cache {
            Ok(cache) => Self::take(&cache, &manifest, granted.confined, most)
                .map_err(|error| format!("{}: {error}", cache.join(PLUGINS).display())),
            Err(error) => Err(error.to_string()),
        });
        let why = match taken.await {
            Ok(Ok(kept)) => return Some(Arc::new(kept)),
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        let message = format!(
            "its cache cannot be used, so the files that its libraries cache are deleted with each worker (make it writable, or name another cache directory): {why}"
        );
        context.log.push(LogLevel::Warn, LogSource::Host, 0, None, &message);
        None
    }

    /// Opens the plugin's cache below the host's cache, and makes it if it does not exist. If it is larger than `most` bytes it is first
    /// cut down, unless another host uses it. Blocks on the file system.
    ///
    /// # Errors
    /// Why it cannot be made or locked.
    pub(crate) fn take(cache: &Path, manifest: &PythonManifest, confined: bool, most: u64) -> io::Result<Self> {
        let plugins = std::path::absolute(cache)?.join(PLUGINS);
        let directory = plugins.join(key(manifest, confined));
        private().recursive(true).create(&directory)?;
        if let Some(open) = [&plugins, &directory].into_iter().find(|directory| !is_private(directory)) {
            return Err(io::Error::other(format!("other users may write to {}", open.display())));
        }
        if let Some(alone) = alone(&directory) {
            let cut = bound::cut(&directory.join(FILES), most);
            if cut > 0 {
                tracing::info!(plugin = manifest.name, bytes = cut, "the plugin's cache was over its limit");
            }
            drop(alone);
        }
        let lock = shared(&directory)?;
        let files = directory.join(FILES);
        private().recursive(true).create(&files)?;
        // The description and the time of use are only for people.
        let _ = describe(&directory, manifest, confined);
        let _ = lock.set_modified(SystemTime::now());
        Ok(Self { files, directory, lock: Some(lock) })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.lock.take());
        // Checked first without the lock: most caches are not empty.
        let is_empty = || std::fs::read_dir(&self.files).is_ok_and(|mut entries| entries.next().is_none());
        if is_empty()
            && let Some(_alone) = alone(&self.directory)
            && is_empty()
        {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// Makes directories that only this user may enter.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// The name of a plugin's cache. The plugin's name alone is not enough: there may be another plugin with that name elsewhere.
pub(super) fn key(manifest: &PythonManifest, confined: bool) -> String {
    let path = manifest.path.canonicalize().unwrap_or_else(|_| manifest.path.clone());
    let PythonObject { module, name, kind, .. } = &manifest.python.object;
    let code = (*kind != PythonKind::Function).then_some([module, name]).map_or([None, None], |names| names.map(Some));
    let source = manifest.python.source.as_ref().map(|source| source.to_string_lossy().into_owned());
    // A manifest that is not in a file is identified by its content.
    let whole = if manifest.path.is_file() {
        json!([path.to_string_lossy(), manifest.name, confined])
    } else {
        json!([path.to_string_lossy(), manifest.name, confined, code, source, manifest.python.python_path])
    };
    let digest = Sha256::digest(whole.to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Locks a cache exclusively, if nobody uses it.
pub(super) fn alone(directory: &Path) -> Option<File> {
    let file = File::open(directory).ok()?;
    (file.try_lock().is_ok() && is_at(&file, directory)).then_some(file)
}

/// Locks a cache against removal. Waits while it is being cleaned, and makes it again if it was removed meanwhile.
fn shared(directory: &Path) -> io::Result<File> {
    let start = Instant::now();
    loop {
        private().recursive(true).create(directory)?;
        let file = File::open(directory)?;
        match file.try_lock_shared() {
            Ok(()) if is_at(&file, directory) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY),
        }
        if start.elapsed() > CLEANING {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "another program is still cleaning it"));
        }
    }
}

/// Whether the file that was opened is still the one at this path.
fn is_at(file: &File, directory: &Path) -> bool {
    let (Ok(opened), Ok(there)) = (file.metadata(), directory.symlink_metadata()) else { return false };
    (opened.dev(), opened.ino()) == (there.dev(), there.ino())
}

fn describe(directory: &Path, manifest: &PythonManifest, confined: bool) -> io::Result<()> {
    let about = json!({"plugin": manifest.name, "manifest": manifest.path.to_string_lossy(), "confined": confined});
    let text = format!("{about}\n");
    let path = directory.join(ABOUT);
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fill, manifest_at};
    use super::*;

    const LARGE: u64 = 1 << 40;

    #[test]
    fn each_plugin_has_a_cache_for_each_form() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (manifest_at(&dir.path().join("one"), "p"), manifest_at(&dir.path().join("other"), "p"));
        let same = manifest_at(&dir.path().join("one"), "p");
        let keys = [key(&one, true), key(&one, false), key(&other, true), key(&other, false)];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(key(&same, true), keys[0]);
        let renamed = manifest_at(&dir.path().join("one"), "q");
        assert!(!keys.contains(&key(&renamed, true)));
    }

    #[test]
    fn a_cache_with_files_is_kept_and_an_empty_one_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest_at(&dir.path().join("m"), "p");
        let take = || Kept::take(dir.path(), &manifest, true, LARGE).unwrap();
        let (kept, second) = (take(), take());
        let directory = kept.directory.clone();
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700);
        drop(kept);
        assert!(directory.exists(), "it is in use");
        drop(second);
        assert!(!directory.exists());

        let kept = take();
        fill(&kept.files.join("huggingface/model"), 10);
        assert!(alone(&directory).is_none());
        drop(kept);
        assert!(alone(&directory).is_some());
        assert!(take().files.join("huggingface/model").exists());
    }

    #[test]
    fn a_cache_that_others_may_write_to_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest_at(&dir.path().join("m"), "p");
        let plugins = dir.path().join(PLUGINS);
        DirBuilder::new().create(&plugins).unwrap();
        std::fs::set_permissions(&plugins, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let error = Kept::take(dir.path(), &manifest, true, LARGE).unwrap_err().to_string();
        assert!(error.contains("other users may write to"), "{error}");
    }

    #[test]
    fn a_cache_over_its_limit_is_cut_down_when_it_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest_at(&dir.path().join("m"), "p");
        let kept = Kept::take(dir.path(), &manifest, false, LARGE).unwrap();
        let file = kept.files.join("torch/model");
        fill(&file, 4096);
        let second = Kept::take(dir.path(), &manifest, false, 100).unwrap();
        assert!(file.exists());
        drop((kept, second));
        let _again = Kept::take(dir.path(), &manifest, false, 100).unwrap();
        assert!(!file.exists());
    }
}
