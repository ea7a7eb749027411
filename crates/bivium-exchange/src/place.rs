//! Where a file goes: memory (`/dev/shm`) or the temp directory.
//!
//! A blob goes to memory if what is expected of it is at most a quarter of the room there, so that one blob never
//! takes most of it. One of unknown size counts as 64 MiB; if it grows past that, it moves. An area goes to memory
//! if 1 GiB is free there and programs may be run from it (a container's `/dev/shm` often forbids that, and Python
//! packages compile into their TMPDIR). With one place only, all goes there.
//!
//! Cleaners of temporary directories may remove ours under a host that runs. The next blob or area then gets another, with
//! a name of its own: what lies at the old path by then may be anybody's, and is not looked into.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::Result;
use rustix::fs::{StatVfsMountFlags, fstatvfs};

use crate::errors::failed;
use crate::reclaim::reclaim;
use crate::session::Session;

const SHARE_OF_ROOM: u64 = 4;
const UNKNOWN_BYTES: u64 = 64 << 20;
const AREA_ROOM: u64 = 1 << 30;

/// The one or two places of an exchange.
#[derive(Debug)]
pub(crate) struct Places {
    near: Spot,
    /// For what is big.
    far: Option<Spot>,
    unknown_bytes: u64,
}

/// A directory, and our session in it: made when it is first needed, and again when somebody has removed it.
#[derive(Debug)]
struct Spot {
    root: PathBuf,
    /// The user whose directory it is.
    owner: u32,
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

    fn two(near: Spot, far: &Path) -> Result<Self> {
        Ok(Self { near, far: Some(Spot::new(far)?), unknown_bytes: UNKNOWN_BYTES })
    }

    /// Two directories, as if the first were memory.
    #[cfg(test)]
    pub(crate) fn for_test(near: &Path, far: &Path, unknown_bytes: u64) -> Self {
        Self { unknown_bytes, ..Self::two(open(near).unwrap(), far).unwrap() }
    }

    /// The session in the near place, or in the far one if there can be none.
    fn near(&self) -> Result<Arc<Session>> {
        self.near.session().or_else(|error| match &self.far {
            Some(far) => far.session(),
            None => Err(error),
        })
    }

    /// The session for a blob, and how large it may grow in it.
    pub(crate) fn for_blob(&self, expected: Option<u64>) -> Result<(Arc<Session>, u64)> {
        let expected = expected.unwrap_or(self.unknown_bytes);
        let near = self.near()?;
        match &self.far {
            None => Ok((near, u64::MAX)),
            Some(_) if expected <= room(&near).0 / SHARE_OF_ROOM => Ok((near, expected.max(self.unknown_bytes))),
            Some(far) => Ok((far.session()?, u64::MAX)),
        }
    }

    /// The session to move to from `session` when it is full, if there is another.
    pub(crate) fn beyond(&self, session: &Arc<Session>) -> Result<Option<Arc<Session>>> {
        match &self.far {
            Some(far) if !far.has(session) => far.session().map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn for_area(&self) -> Result<Arc<Session>> {
        let near = self.near()?;
        match &self.far {
            Some(far) if !matches!(room(&near), (AREA_ROOM.., true)) => far.session(),
            _ => Ok(near),
        }
    }

    /// Every place, made if need be.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Session>>> {
        let near = self.near()?;
        let far = self.far.as_ref().map(Spot::session).transpose()?;
        let apart = far.filter(|far| !Arc::ptr_eq(far, &near));
        Ok([Some(near), apart].into_iter().flatten().collect())
    }

    /// The session that is now where this one is or was.
    pub(crate) fn in_place_of(&self, session: &Arc<Session>) -> Result<Arc<Session>> {
        match &self.far {
            Some(far) if session.path().parent() == Some(far.root.as_path()) => far.session(),
            _ => self.near.session(),
        }
    }

    /// The directories in which sessions are made.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        [Some(&self.near), self.far.as_ref()].into_iter().flatten().map(|spot| spot.root.clone()).collect()
    }

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let held = [Some(&self.near), self.far.as_ref()].into_iter().flatten().filter_map(|spot| spot.held().clone());
        held.map(|session| session.path().to_owned()).collect()
    }
}

impl Spot {
    /// Reclaims dead sessions in the directory. Makes none.
    fn new(root: &Path) -> Result<Self> {
        let root = canonical(root)?;
        let failed = |error: std::io::Error| failed("open the exchange in", &root, error);
        reclaim(&root).map_err(failed)?;
        let owner = owner(&root).map_err(failed)?;
        Ok(Self { root, owner, session: Mutex::default() })
    }

    fn session(&self) -> Result<Arc<Session>> {
        let mut held = self.held();
        if let Some(session) = held.as_ref().filter(|session| session.is_there() || !session.is_ours()) {
            return Ok(Arc::clone(session));
        }
        if let Some(lost) = held.take() {
            let lost = lost.path().display();
            tracing::warn!("somebody has removed the directory {lost} of the exchange; another takes its place");
        }
        let session =
            self.create().map_err(|error| failed("make a directory for the exchange in", &self.root, error))?;
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    fn create(&self) -> std::io::Result<Arc<Session>> {
        match DirBuilder::new().mode(0o700).create(&self.root) {
            // As nearly always.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let owner = owner(&self.root)?;
        if owner != self.owner && owner != rustix::process::geteuid().as_raw() {
            return Err(std::io::Error::new(
                ErrorKind::PermissionDenied,
                "another user has put a directory in its place",
            ));
        }
        Session::create(&self.root)
    }

    /// Whether this is its session.
    fn has(&self, session: &Arc<Session>) -> bool {
        self.held().as_ref().is_some_and(|held| Arc::ptr_eq(held, session))
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place with a session in it.
fn open(root: &Path) -> Result<Spot> {
    let spot = Spot::new(root)?;
    spot.session()?;
    Ok(spot)
}

/// The user whose directory it is; a link is none.
fn owner(root: &Path) -> std::io::Result<u32> {
    let found = root.symlink_metadata()?;
    if found.is_dir() { Ok(found.uid()) } else { Err(ErrorKind::NotADirectory.into()) }
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
