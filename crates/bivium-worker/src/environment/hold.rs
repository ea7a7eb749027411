//! Locks that tell which environments are in use.
//!
//! A plugin has a shared lock on `<key>.use` while it is loaded. To remove an environment, a host takes exclusive locks on that file and
//! on the lock for making it, so that no environment is removed that a host uses or makes. The file's time is when it was last used.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::lock::holder_of;

/// How often a lock that another process holds is tried. A blocking wait could not be cancelled.
const TRY: Duration = Duration::from_millis(50);
/// Removing an environment takes no longer than this, unless the process that does it was stopped.
const REMOVING: Duration = Duration::from_secs(60);

/// Protects an environment from being removed, until it is dropped.
#[derive(Debug, Clone)]
pub(super) struct Hold(#[expect(dead_code, reason = "held for its end")] Arc<File>);

/// Always equal: whether an interpreter's environment is protected does not matter for comparing interpreters.
impl PartialEq for Hold {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Hold {}

/// Protects an environment from being removed, whether it is made already or not. Waits while another process removes it, but not if
/// that process was stopped.
pub(super) async fn hold(environments: &Path, key: &str) -> io::Result<Hold> {
    hold_within(REMOVING, environments, key).await
}

async fn hold_within(limit: Duration, environments: &Path, key: &str) -> io::Result<Hold> {
    let file = open(&use_of(environments, key))?;
    let start = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() > limit => {
                let message = format!("{} is still removing the environment {key} there", holder_of(&file));
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(TRY).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    // The time is only for people, and for removing environments that were not used for a long time.
    let _ = file.set_modified(SystemTime::now());
    Ok(Hold(Arc::new(file)))
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

fn use_of(environments: &Path, key: &str) -> PathBuf {
    environments.join(format!("{key}.use"))
}

/// When a plugin last began to use an environment.
pub(super) fn last_used(environments: &Path, key: &str) -> Option<SystemTime> {
    use_of(environments, key).metadata().and_then(|metadata| metadata.modified()).ok()
}

/// Exclusive locks on an environment that nobody uses or makes. The lock files are not removed: others may have them open to lock
/// them.
pub(super) struct Unused {
    _used: File,
    _made: File,
}

impl Unused {
    /// None if a host uses it or makes it.
    pub(super) fn take(environments: &Path, key: &str) -> Option<Self> {
        let lock = |path: &Path| {
            let file = open(path).ok()?;
            file.try_lock().is_ok().then_some(file)
        };
        let used = lock(&use_of(environments, key))?;
        Some(Self { _used: used, _made: lock(&environments.join(format!("{key}.lock")))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_host_that_takes_too_long_to_remove_an_environment_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let removing = Unused::take(dir.path(), KEY).unwrap();
        let error = hold_within(Duration::ZERO, dir.path(), KEY).await.unwrap_err();
        assert_eq!(error.to_string(), format!("this host is still removing the environment {KEY} there"));
        drop(removing);
        hold_within(Duration::ZERO, dir.path(), KEY).await.unwrap();
    }
}
