//! [`Draft`]: an entry of the cache that is being made.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, fchmod, renameat};
use rustix::io::Errno;

use super::{CODE, Cache, CacheKey, SEAL, SETTLED, Seal, dir};
use crate::compile::digest::Digest;
use crate::compile::stamp::FileStamp;

/// How long to wait for the file system's clock to advance.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS: u32 = 30;
/// The longest time that another host may hold the lock to tidy the cache.
const TIDYING: Duration = Duration::from_secs(2);
/// Attempts to put an entry in place, since others may do so at the same time.
const ATTEMPTS: u32 = 4;

/// Takes the shared lock. A host that tidies holds it only for a moment; one that was stopped meanwhile is not waited for.
fn share(lock: &File) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match lock.try_lock_shared() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if start.elapsed() > TIDYING => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another host does not release its lock"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// An entry under a hidden name. Dropping it removes the entry, unless it was put in place.
#[derive(Debug)]
pub(crate) struct Draft {
    cache: Arc<Cache>,
    name: String,
    dir: OwnedFd,
    code: File,
    /// While it is held, no other host removes the draft as one that a killed host has left.
    _lock: File,
}

impl Cache {
    /// Begins a new entry. Waits while another host tidies, which is short.
    pub(crate) fn draft(self: &Arc<Self>) -> io::Result<Draft> {
        Draft::new(Arc::clone(self))
    }
}

impl Draft {
    fn new(cache: Arc<Cache>) -> io::Result<Self> {
        let lock = cache.lock_file()?;
        share(&lock)?;
        let name = dir::hidden_name()?;
        let dir = dir::make_in(cache.dir.as_fd(), &name)?;
        let code = dir::create_file(dir.as_fd(), CODE)?;
        Ok(Self { cache, name, dir, code, _lock: lock })
    }

    /// The file for the compiled component.
    pub(crate) fn code(&self) -> &File {
        &self.code
    }

    /// Seals the entry and puts it in place. If another host was faster, its entry is replaced only if it is damaged. Then the cache is
    /// tidied.
    pub(crate) fn install(self, key: CacheKey) -> io::Result<()> {
        // Otherwise a power failure could leave a file of the right size and time, but full of zeros, under a valid seal.
        fchmod(&self.code, Mode::RUSR)?;
        self.code.sync_all()?;
        let stamp = self.settled_stamp()?;
        // Read back, so that the seal is that of the file's real content.
        let sha256 = Digest::of_file(&self.code)?;
        Seal { sha256, stamp }.write(self.dir.as_fd(), SEAL)?;
        self.put_in_place(key)?;
        let cache = Arc::clone(&self.cache);
        drop(self);
        cache.tidy(key);
        Ok(())
    }

    /// The stamp, once every later change would be visible in it.
    fn settled_stamp(&self) -> io::Result<Option<FileStamp>> {
        for _ in 0..LOOKS {
            let stamp = FileStamp::of(&self.code)?;
            if stamp.is_settled(SETTLED) {
                return Ok(Some(stamp));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(None)
    }

    fn put_in_place(&self, key: CacheKey) -> io::Result<()> {
        let parent = &self.cache.dir;
        for _ in 0..ATTEMPTS {
            match renameat(parent, &self.name, parent, key.to_string()) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {
                    if self.cache.find(key).is_some() {
                        return Ok(());
                    }
                }
                renamed => return Ok(renamed?),
            }
        }
        Err(io::Error::other("another process keeps changing the entry"))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // If it was put in place, it no longer exists under this name.
        if let Err(error) = dir::remove_hidden(self.cache.dir.as_fd(), &self.name) {
            tracing::warn!(cache = %self.cache.path.display(), %error, "cannot remove an unfinished entry");
        }
    }
}
