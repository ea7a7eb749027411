//! Where a file goes: memory (`/dev/shm`) or the temp directory.
//!
//! A blob goes to memory if its expected size is at most a quarter of the free space there, so that one blob never takes
//! most of it. A blob of unknown size counts as 64 MiB; if it grows beyond that, it moves. An area goes to memory if 1 GiB
//! is free there and programs may be run from it (a container's `/dev/shm` often forbids that, and Python packages compile
//! into their TMPDIR). With a single place, everything goes there.
//!
//! Cleaners of temporary directories may remove a session while its host runs. The next blob or area then gets a new
//! session under another name: whatever lies at the old path by then may belong to somebody else and is not read.

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
    main: Place,
    /// For large files.
    overflow: Option<Place>,
    unknown_bytes: u64,
}

/// A directory and the session in it, which is made when it is first needed, and again if somebody removed it.
#[derive(Debug)]
struct Place {
    root: PathBuf,
    /// The user whose directory it is.
    owner: u32,
    session: Mutex<Option<Arc<Session>>>,
}

impl Places {
    /// Memory if it can be used, and the temp directory.
    pub(crate) fn by_default() -> Result<Self> {
        let temp = std::env::temp_dir();
        let Some(memory) = memory_root(&temp) else {
            return Self::one(&temp);
        };
        match open(memory) {
            Ok(main) => Self::two(main, &temp),
            Err(error) => {
                tracing::debug!(%error, "the exchange does not use shared memory");
                Self::one(&temp)
            }
        }
    }

    /// One directory for everything.
    pub(crate) fn one(root: &Path) -> Result<Self> {
        Ok(Self { main: open(root)?, overflow: None, unknown_bytes: UNKNOWN_BYTES })
    }

    fn two(main: Place, overflow: &Path) -> Result<Self> {
        Ok(Self { main, overflow: Some(Place::new(overflow)?), unknown_bytes: UNKNOWN_BYTES })
    }

    /// Two directories, the first in the part of memory.
    #[cfg(test)]
    pub(crate) fn for_test(main: &Path, overflow: &Path, unknown_bytes: u64) -> Self {
        Self { unknown_bytes, ..Self::two(open(main).unwrap(), overflow).unwrap() }
    }

    /// The session in the main place, or in the overflow if it cannot be made there.
    fn main(&self) -> Result<Arc<Session>> {
        self.main.session().or_else(|error| match &self.overflow {
            Some(overflow) => overflow.session(),
            None => Err(error),
        })
    }

    /// The session for a blob, and how large the blob may grow in it.
    pub(crate) fn for_blob(&self, expected: Option<u64>) -> Result<(Arc<Session>, u64)> {
        let expected = expected.unwrap_or(self.unknown_bytes);
        let main = self.main()?;
        match &self.overflow {
            None => Ok((main, u64::MAX)),
            Some(_) if expected <= room(&main).0 / SHARE_OF_ROOM => Ok((main, expected.max(self.unknown_bytes))),
            Some(overflow) => Ok((overflow.session()?, u64::MAX)),
        }
    }

    /// The session to which a blob moves from `session` when that is full, if there is another.
    pub(crate) fn overflow_from(&self, session: &Arc<Session>) -> Result<Option<Arc<Session>>> {
        match &self.overflow {
            Some(overflow) if !overflow.has(session) => overflow.session().map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn for_area(&self) -> Result<Arc<Session>> {
        let main = self.main()?;
        match &self.overflow {
            Some(overflow) if !matches!(room(&main), (AREA_ROOM.., true)) => overflow.session(),
            _ => Ok(main),
        }
    }

    /// The session of every place, made if necessary.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Session>>> {
        let main = self.main()?;
        let overflow = self.overflow.as_ref().map(Place::session).transpose()?;
        let apart = overflow.filter(|overflow| !Arc::ptr_eq(overflow, &main));
        Ok([Some(main), apart].into_iter().flatten().collect())
    }

    /// The session that now serves the place of this one.
    pub(crate) fn in_place_of(&self, session: &Arc<Session>) -> Result<Arc<Session>> {
        match &self.overflow {
            Some(overflow) if session.path().parent() == Some(overflow.root.as_path()) => overflow.session(),
            _ => self.main.session(),
        }
    }

    /// The directories in which sessions are made.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        [Some(&self.main), self.overflow.as_ref()].into_iter().flatten().map(|place| place.root.clone()).collect()
    }

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let held =
            [Some(&self.main), self.overflow.as_ref()].into_iter().flatten().filter_map(|place| place.held().clone());
        held.map(|session| session.path().to_owned()).collect()
    }
}

impl Place {
    /// Removes dead sessions in the directory. Makes no session.
    fn new(root: &Path) -> Result<Self> {
        let root = canonical(root)?;
        let failed = |error: std::io::Error| failed("open the exchange in", &root, error);
        reclaim(&root).map_err(failed)?;
        let owner = owner(&root).map_err(failed)?;
        Ok(Self { root, owner, session: Mutex::default() })
    }

    fn session(&self) -> Result<Arc<Session>> {
        let mut held = self.held();
        if let Some(session) = held.as_ref().filter(|session| session.is_there() || !session.is_own()) {
            return Ok(Arc::clone(session));
        }
        if let Some(lost) = held.take() {
            let lost = lost.path().display();
            tracing::warn!("somebody has removed the directory {lost} of the exchange; a new one replaces it");
        }
        let session =
            self.create().map_err(|error| failed("make a directory for the exchange in", &self.root, error))?;
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    fn create(&self) -> std::io::Result<Arc<Session>> {
        match DirBuilder::new().mode(0o700).create(&self.root) {
            // The usual case.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let owner = owner(&self.root)?;
        if owner != self.owner && owner != rustix::process::geteuid().as_raw() {
            return Err(std::io::Error::new(
                ErrorKind::PermissionDenied,
                "another user has made a directory of this name",
            ));
        }
        Session::create(&self.root)
    }

    /// Whether `session` is the session of this place.
    fn has(&self, session: &Arc<Session>) -> bool {
        self.held().as_ref().is_some_and(|held| Arc::ptr_eq(held, session))
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, with its session made.
fn open(root: &Path) -> Result<Place> {
    let place = Place::new(root)?;
    place.session()?;
    Ok(place)
}

/// The directory's owner. A symbolic link is refused.
fn owner(root: &Path) -> std::io::Result<u32> {
    let found = root.symlink_metadata()?;
    if found.is_dir() { Ok(found.uid()) } else { Err(ErrorKind::NotADirectory.into()) }
}

/// Symbolic links resolved, so that a plugin that resolves the path of its area gets the same one.
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
