//! The worker's own files, carried in this crate and laid down where Python can run them.
//!
//! They lie in a directory named by their digest, so that two versions of a host never disturb each other.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bivium_interface::{PluginError, Result};
use sha2::{Digest, Sha256};

const PACKAGE: &str = "bivium_worker";

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../python/bivium_worker/", $name)))),*]
    };
}

/// Every file of `python/bivium_worker`; a test sees to it that none is missing.
const FILES: &[(&str, &str)] = files! {
    "__init__.py" "__main__.py" "ancestor.py" "arrays.py" "blobs.py" "calls.py" "cancel.py" "channel.py" "children.py" "codec.py" "control.py" "door.py" "errors.py"
    "executor.py" "guard.py" "lane.py" "logs.py" "loops.py" "outlet.py" "plugin.py" "poller.py" "settings.py"
    "spill.py" "start.py" "sweep.py" "wire.py" "worker.py"
};

/// Lays the worker's files down below `cache`, unless they are there, and gives the directory to run.
pub(crate) fn install(cache: &Path) -> Result<PathBuf> {
    let home = cache.join(format!("worker-{}", digest()));
    let package = home.join(PACKAGE);
    let failed = |error: io::Error| {
        PluginError::unavailable(format!("cannot lay down the Python worker in {}: {error}", cache.display()))
            .with_help("make that directory writable, or set XDG_CACHE_HOME to another")
    };
    if is_whole(&package) {
        return Ok(package);
    }
    // Under another name first: another host may be running what is there.
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(cache).map_err(failed)?;
    let random = getrandom::u64().map_err(|error| failed(io::Error::other(error.to_string())))?;
    let fresh = cache.join(format!(".worker-{random:016x}"));
    let laid = lay(&fresh).and_then(|()| replace(&fresh, &home));
    if laid.is_err() {
        let _ = std::fs::remove_dir_all(&fresh);
    }
    // Another host may have been quicker.
    if is_whole(&package) {
        Ok(package)
    } else {
        Err(laid.err().map_or_else(|| failed(io::Error::other("it changes under us")), failed))
    }
}

fn lay(home: &Path) -> io::Result<()> {
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
        // Another host was quicker.
        return std::fs::remove_dir_all(fresh);
    }
    // Somebody has changed it. What runs from it keeps running.
    let spoiled = fresh.with_extension("spoiled");
    std::fs::rename(home, &spoiled)?;
    let _ = std::fs::remove_dir_all(&spoiled);
    std::fs::rename(fresh, home)
}

/// Whether every file is there as it should be, in a directory that nobody else may write to.
fn is_whole(package: &Path) -> bool {
    let private = |path: &Path| {
        path.metadata().is_ok_and(|found| {
            found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0 && found.is_dir()
        })
    };
    let same =
        |(name, text): &(&str, &str)| std::fs::read(package.join(name)).is_ok_and(|found| found == text.as_bytes());
    private(package) && package.parent().is_some_and(private) && FILES.iter().all(same)
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

    #[test]
    fn no_file_of_the_package_is_missing() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/bivium_worker");
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
    fn files_are_laid_down_once_and_again_when_they_were_changed() {
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
