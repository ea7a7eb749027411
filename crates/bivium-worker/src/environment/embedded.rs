//! The worker's own files, which are part of this crate, written to a directory from which Python runs them.
//!
//! The directory is named by their digest, so that two versions of a host do not use the same one.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once};

use bivium_exchange::{Area, Exchange};
use bivium_interface::{PluginError, Result};
use sha2::{Digest, Sha256};

use super::bytecode::Attempts;

const PACKAGE: &str = "bivium_worker";

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../bivium_worker/", $name)))),*]
    };
}

/// Every file of `python/bivium_worker`, by a link that cargo follows when it packages this crate; a test checks that none is missing.
const FILES: &[(&str, &str)] = files! {
    "__init__.py" "__main__.py" "arguments.py" "arrays.py" "asking.py" "blobs.py" "calls.py" "cancel.py" "causes.py"
    "channel.py" "children.py" "cjm.py" "codec.py" "control.py" "conversion.py" "databases.py" "denials.py" "descendants.py" "dispatcher.py"
    "docstrings.py" "error_fields.py" "errors.py" "executor.py" "findings.py" "grants.py" "guard.py" "late_logging.py" "listener.py" "logs.py"
    "loops.py" "methods.py" "plugin.py" "poller.py" "replies.py" "settings.py" "signatures.py" "sockets.py" "spill.py" "start.py"
    "types_within.py" "values.py" "watch.py" "wire.py" "worker.py"
};

/// The directory of the worker's files, which Python runs.
pub(crate) struct Package {
    pub(crate) path: PathBuf,
    /// The area that contains them if they cannot be written to the cache; they are deleted with it.
    area: Option<Area>,
    pub(super) attempts: Attempts,
}

/// The attempts to make bytecode of the files in caches, which all plugins share.
static SHARED: LazyLock<Attempts> = LazyLock::new(Attempts::default);

impl Package {
    /// The files that are imported.
    pub(super) fn modules() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name).filter(|name| *name != "__main__.py")
    }

    /// Writes the files to the cache, or, if that fails, to a directory for this plugin alone. Blocks on the file system.
    ///
    /// # Errors
    /// Those of the exchange, and `resource-exhausted` or `unavailable` if they cannot be written there either.
    pub(crate) fn new(cache: Result<PathBuf>, exchange: &Exchange) -> Result<Self> {
        let error = match cache.and_then(|cache| install(&cache)) {
            Ok(path) => return Ok(Self { path, area: None, attempts: SHARED.clone() }),
            Err(error) => error,
        };
        static TOLD: Once = Once::new();
        TOLD.call_once(|| tracing::warn!("each plugin gets its own copy of the Python worker's files: {error}"));
        let area = exchange.area("worker")?;
        write_files(area.path()).map_err(|second| {
            let message = format!("cannot write the Python worker's files to {}: {second}", area.path().display());
            PluginError::unavailable(message).with_help(error.to_string())
        })?;
        Ok(Self { path: area.path().join(PACKAGE), area: Some(area), attempts: Attempts::default() })
    }

    /// Writes the files again if they were removed. Blocks on the file system.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn restore(&self) -> Result<()> {
        if self.path.join("__main__.py").exists() {
            return Ok(());
        }
        match (&self.area, self.path.parent().and_then(Path::parent)) {
            (None, Some(cache)) => install(cache).map(drop),
            _ => Err(PluginError::unavailable(format!(
                "the Python worker's files in {} were removed",
                self.path.display()
            ))
            .with_help("load the plugin again")),
        }
    }
}

/// Writes the worker's files below `cache`, unless they exist, and returns the directory to run.
fn install(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("worker-{}", digest()));
    let package = home.join(PACKAGE);
    let failed = |error: io::Error| {
        PluginError::unavailable(format!("cannot write the Python worker's files to {}: {error}", cache.display()))
            .with_help("make that directory writable, or name another cache directory (`--cache`, BIVIUM_CACHE, `ManagerBuilder::worker_cache`)")
    };
    if is_whole(&package) {
        return Ok(package);
    }
    // Under another name first: another host may be using the files that are there.
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(cache).map_err(failed)?;
    let random = getrandom::u64().map_err(|error| failed(io::Error::other(error.to_string())))?;
    let fresh = cache.join(format!(".worker-{random:016x}"));
    let written = write_files(&fresh).and_then(|()| replace(&fresh, &home));
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&fresh);
    }
    // Another host may have been faster.
    if is_whole(&package) {
        Ok(package)
    } else {
        Err(written.err().map_or_else(|| failed(io::Error::other("another program is changing the files")), failed))
    }
}

fn write_files(home: &Path) -> io::Result<()> {
    let package = home.join(PACKAGE);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&package)?;
    for (name, text) in FILES {
        std::fs::File::create_new(package.join(name))?.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn replace(fresh: &Path, home: &Path) -> io::Result<()> {
    match std::fs::rename(fresh, home) {
        Err(_) if home.exists() => {}
        done => return done,
    }
    if is_whole(&home.join(PACKAGE)) {
        // Another host was faster.
        return std::fs::remove_dir_all(fresh);
    }
    // The files were changed. Workers that run from them keep running.
    let damaged = fresh.with_extension("damaged");
    std::fs::rename(home, &damaged)?;
    let _ = std::fs::remove_dir_all(&damaged);
    std::fs::rename(fresh, home)
}

/// Whether every file has its right content, in a directory that no other user may write to.
fn is_whole(package: &Path) -> bool {
    let same =
        |(name, text): &(&str, &str)| std::fs::read(package.join(name)).is_ok_and(|found| found == text.as_bytes());
    is_private(package) && package.parent().is_some_and(is_private) && FILES.iter().all(same)
}

/// Whether it is a directory of this user that no other user may write to.
pub(crate) fn is_private(directory: &Path) -> bool {
    directory.metadata().is_ok_and(|found| {
        found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0 && found.is_dir()
    })
}

fn digest() -> String {
    let mut hash = Sha256::new();
    for (name, text) in FILES {
        for part in [name, text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::small_disk::SmallDisk;

    #[test]
    fn no_file_of_the_package_is_missing() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("bivium_worker");
        let there: BTreeSet<String> = std::fs::read_dir(package)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "__pycache__")
            .collect();
        assert_eq!(there, FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
    }

    #[test]
    fn hosts_that_start_at_the_same_time_do_not_disturb_each_other() {
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let hosts: Vec<_> = (0..16).map(|_| scope.spawn(|| install(cache.path()).unwrap())).collect();
            hosts.into_iter().for_each(|host| assert!(is_whole(&host.join().unwrap())));
        });
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_worker_runs_without_a_cache_that_cannot_be_written() {
        let root = tempfile::tempdir().unwrap();
        let exchange = Exchange::builder().root(root.path()).open().unwrap();
        let no_home = || Err(PluginError::internal("no home"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut caches = vec![no_home(), Ok(file.path().join("cache"))];
        let full = SmallDisk::new().inspect(SmallDisk::fill);
        let read_only = SmallDisk::new().inspect(SmallDisk::make_read_only);
        caches.extend([&full, &read_only].into_iter().flatten().map(|disk| Ok(disk.path().join("cache"))));
        for cache in caches {
            let package = Package::new(cache.clone(), &exchange).unwrap();
            assert!(package.path.starts_with(root.path().canonicalize().unwrap()), "{cache:?}");
            assert!(is_whole(&package.path));
            package.restore().unwrap();
            std::fs::remove_dir_all(&package.path).unwrap();
            assert!(package.restore().unwrap_err().to_string().contains("load the plugin again"));
            drop(package);
            assert_eq!(exchange.usage().areas, 0);
            if let Ok(cache) = cache {
                assert!(!cache.exists() || cache.read_dir().unwrap().count() == 0, "nothing incomplete is left");
            }
        }
        // A cache that was emptied is filled again.
        let cache = tempfile::tempdir().unwrap();
        let package = Package::new(Ok(cache.path().to_owned()), &exchange).unwrap();
        std::fs::remove_dir_all(package.path.parent().unwrap()).unwrap();
        package.restore().unwrap();
        assert!(is_whole(&package.path));
    }

    #[test]
    fn files_are_written_once_and_again_after_they_were_changed() {
        let cache = tempfile::tempdir().unwrap();
        let package = install(cache.path()).unwrap();
        let inode = || std::fs::metadata(&package).unwrap().ino();
        let first = inode();
        assert_eq!(install(cache.path()).unwrap(), package);
        assert_eq!(inode(), first);

        std::fs::write(package.join("guard.py"), "evil").unwrap();
        assert_eq!(install(cache.path()).unwrap(), package);
        assert_ne!(inode(), first);
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
