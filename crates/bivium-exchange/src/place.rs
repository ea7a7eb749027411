//! Where a file goes: memory (`/dev/shm`) or the temp directory.
//!
//! A blob goes to memory if what is expected of it is at most a quarter of the room there, so that one blob never
//! takes most of it. One of unknown size counts as 64 MiB; if it grows past that, it moves. An area goes to memory
//! if 1 GiB is free there and programs may be run from it (a container's `/dev/shm` often forbids that, and Python
//! packages compile into their TMPDIR). With one place only, all goes there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bivium_interface::Result;
use rustix::fs::{StatVfsMountFlags, fstatvfs};

use crate::errors::failed;
use crate::reclaim::reclaim;
use crate::session::Session;

const SHARE_OF_ROOM: u64 = 4;
const UNKNOWN_BYTES: u64 = 64 << 20;
const AREA_ROOM: u64 = 1 << 30;

/// The one or two sessions of an exchange.
#[derive(Debug)]
pub(crate) struct Places {
    near: Arc<Session>,
    far: Option<Far>,
    unknown_bytes: u64,
}

/// The place for what is big, whose session is made when it is first needed.
#[derive(Debug)]
struct Far {
    root: PathBuf,
    session: Mutex<Option<Arc<Session>>>,
}

impl Places {
    /// Memory where it can be had, and the temp directory.
    pub(crate) fn by_default() -> Result<Self> {
        let temp = std::env::temp_dir();
        let Some(memory) = memory_root(&temp) else {
            return Self::one(&temp);
        };
        match open(memory) {
            Ok(near) => Self::two(near, &temp),
            Err(error) => {
                tracing::debug!(%error, "the exchange does without shared memory");
                Self::one(&temp)
            }
        }
    }

    /// One directory for everything.
    pub(crate) fn one(root: &Path) -> Result<Self> {
        Ok(Self { near: open(root)?, far: None, unknown_bytes: UNKNOWN_BYTES })
    }

    fn two(near: Arc<Session>, far: &Path) -> Result<Self> {
        let root = canonical(far)?;
        reclaim(&root).map_err(|error| failed("open the exchange in", &root, error))?;
        let far = Some(Far { root, session: Mutex::new(None) });
        Ok(Self { near, far, unknown_bytes: UNKNOWN_BYTES })
    }

    /// Two directories, as if the first were memory.
    #[cfg(test)]
    pub(crate) fn for_test(near: &Path, far: &Path, unknown_bytes: u64) -> Self {
        Self { unknown_bytes, ..Self::two(open(near).unwrap(), far).unwrap() }
    }

    /// The session for a blob, and how large it may grow in it.
    pub(crate) fn for_blob(&self, expected: Option<u64>) -> Result<(Arc<Session>, u64)> {
        let expected = expected.unwrap_or(self.unknown_bytes);
        match &self.far {
            None => Ok((Arc::clone(&self.near), u64::MAX)),
            Some(_) if expected <= room(&self.near).0 / SHARE_OF_ROOM => {
                Ok((Arc::clone(&self.near), expected.max(self.unknown_bytes)))
            }
            Some(far) => Ok((far.session()?, u64::MAX)),
        }
    }

    /// The session to move to from `session` when it is full, if there is another.
    pub(crate) fn beyond(&self, session: &Arc<Session>) -> Result<Option<Arc<Session>>> {
        match &self.far {
            Some(far) if Arc::ptr_eq(session, &self.near) => far.session().map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn for_area(&self) -> Result<Arc<Session>> {
        match &self.far {
            Some(far) if !matches!(room(&self.near), (AREA_ROOM.., true)) => far.session(),
            _ => Ok(Arc::clone(&self.near)),
        }
    }

    /// Every place, made if need be.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Session>>> {
        let far = self.far.as_ref().map(Far::session).transpose()?;
        Ok([Some(Arc::clone(&self.near)), far].into_iter().flatten().collect())
    }

    /// The directories in which sessions are made.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        let near = self.near.path().parent().map(Path::to_owned);
        near.into_iter().chain(self.far.as_ref().map(|far| far.root.clone())).collect()
    }

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let far = self.far.as_ref().and_then(|far| far.held().clone());
        [Some(Arc::clone(&self.near)), far].into_iter().flatten().map(|session| session.path().to_owned()).collect()
    }
}

impl Far {
    fn session(&self) -> Result<Arc<Session>> {
        let mut held = self.held();
        if let Some(session) = &*held {
            return Ok(Arc::clone(session));
        }
        let session = create(&self.root)?;
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reclaims dead sessions in `root` and makes one.
fn open(root: &Path) -> Result<Arc<Session>> {
    let root = canonical(root)?;
    reclaim(&root).map_err(|error| failed("open the exchange in", &root, error))?;
    create(&root)
}

fn create(root: &Path) -> Result<Arc<Session>> {
    Session::create(root).map_err(|error| failed("make a directory for the exchange in", root, error))
}

/// Links resolved, so that a plugin that resolves the path of its area gets the same one.
fn canonical(root: &Path) -> Result<PathBuf> {
    root.canonicalize().map_err(|error| failed("open the exchange in", root, error))
}

/// The free bytes where a session lies, and whether programs may be run from there.
fn room(session: &Session) -> (u64, bool) {
    match fstatvfs(session.blobs()) {
        Ok(stat) => (stat.f_bavail.saturating_mul(stat.f_frsize), !stat.f_flag.contains(StatVfsMountFlags::NOEXEC)),
        Err(_) => (0, false),
    }
}

/// `/dev/shm`, if it is memory and the temp directory lies elsewhere.
#[cfg(target_os = "linux")]
fn memory_root(temp: &Path) -> Option<&'static Path> {
    use std::os::unix::fs::MetadataExt;
    const TMPFS_MAGIC: i128 = 0x0102_1994;
    let memory = Path::new("/dev/shm");
    let is_memory = i128::from(rustix::fs::statfs(memory).ok()?.f_type) == TMPFS_MAGIC;
    let is_apart = temp.metadata().ok()?.dev() != memory.metadata().ok()?.dev();
    (is_memory && is_apart).then_some(memory)
}

#[cfg(not(target_os = "linux"))]
fn memory_root(_temp: &Path) -> Option<&'static Path> {
    None
}
