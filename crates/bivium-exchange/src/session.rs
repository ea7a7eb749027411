//! A session: one host's private directory in a root, and the lock that shows that the host is running.
//!
//! It is made as `.bivium-UID-RANDOM`; then its file `lock` is locked; then it is renamed to the name without the dot. So a
//! session under its final name that is not locked belongs to a dead host ([`crate::reclaim`]). The lock is a `flock`,
//! which the system releases however the host ends. All work in the session goes through open directories, never again
//! through a path in a directory that others may write to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Stat, flock, fstat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::random_name::random_name;
use crate::tree;

pub(crate) const LOCK: &std::ffi::CStr = c"lock";
const BLOBS: &str = "blobs";
const AREAS: &str = "areas";
/// Short, since a worker puts sockets beneath it, whose paths may have at most 107 bytes.
pub(crate) const RANDOM_DIGITS: usize = 12;
/// Another host removes a new directory as dead only if this process pauses for a minute while it makes one.
const ATTEMPTS: usize = 8;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
pub(crate) struct Session {
    path: PathBuf,
    name: String,
    root: OwnedFd,
    dir: OwnedFd,
    blobs: OwnedFd,
    areas: OwnedFd,
    /// The directories to which its path must lead.
    parts: [FileId; 2],
    /// Held for as long as the session is.
    lock: File,
    /// The process that made it. A process forked from it holds the same values and must remove nothing.
    process: u32,
}

impl Session {
    /// Makes a session in `root`, an absolute path.
    pub(crate) fn create(root: &Path) -> io::Result<Arc<Self>> {
        for _ in 0..ATTEMPTS {
            if let Some(session) = Self::attempt(root)? {
                tracing::debug!(path = %session.path.display(), "made a session of the exchange");
                return Ok(Arc::new(session));
            }
        }
        Err(io::Error::other("another process keeps removing the session's directory"))
    }

    /// `None` if another host removed the new directory.
    fn attempt(root: &Path) -> io::Result<Option<Self>> {
        let fd = open_root(root)?;
        let name = format!("{}{}", prefix(), random_name(RANDOM_DIGITS)?);
        let hidden = format!(".{name}");
        match mkdirat(&fd, &hidden, Mode::RWXU) {
            Err(Errno::EXIST) => return Ok(None),
            result => result?,
        }
        let made = Self::prepare(root, fd.try_clone()?, &hidden, name);
        if !matches!(made, Ok(Some(_))) {
            let hidden = std::ffi::CString::new(hidden)?;
            tree::remove(fd.as_fd(), &hidden).unwrap_or_else(|error| warn_left(root, &error));
        }
        match made {
            Err(error) if was_taken(&error) => Ok(None),
            made => made,
        }
    }

    fn prepare(root_path: &Path, root: OwnedFd, hidden: &str, name: String) -> io::Result<Option<Self>> {
        let dir = open_own_dir(root.as_fd(), hidden)?;
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = File::from(openat(&dir, LOCK, create, Mode::RUSR | Mode::WUSR)?);
        match lock.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        for part in [BLOBS, AREAS] {
            mkdirat(&dir, part, Mode::RWXU)?;
        }
        let blobs = openat(&dir, BLOBS, DIRECTORY, Mode::empty())?;
        let areas = openat(&dir, AREAS, DIRECTORY, Mode::empty())?;
        renameat(&root, hidden, &root, &name)?;
        let is_in_place = same(&statat(&root, &name, AtFlags::SYMLINK_NOFOLLOW)?, &fstat(&dir)?)
            && same(&statat(&dir, LOCK, AtFlags::SYMLINK_NOFOLLOW)?, &fstat(&lock)?);
        let path = root_path.join(&name);
        // Cleaners that respect locks (systemd-tmpfiles) leave a locked directory alone.
        let _ = flock(&dir, FlockOperation::NonBlockingLockShared);
        let parts = [FileId::of(&fstat(&blobs)?), FileId::of(&fstat(&areas)?)];
        let session = Self { path, name, root, dir, blobs, areas, parts, lock, process: std::process::id() };
        Ok(is_in_place.then_some(session))
    }

    /// Whether this is the name of a session, or of one that is being made.
    pub(crate) fn is_name(name: &str) -> bool {
        let parts =
            name.strip_prefix('.').unwrap_or(name).strip_prefix("bivium-").and_then(|rest| rest.split_once('-'));
        parts.is_some_and(|(user, random)| {
            user.parse::<u32>().is_ok()
                && random.len() == RANDOM_DIGITS
                && random.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    }

    /// The sessions of this user's hosts in a root, with those that are being made.
    pub(crate) fn all_in(root: &Path) -> Vec<PathBuf> {
        let prefix = prefix();
        let is_session = |name: &str| name.strip_prefix('.').unwrap_or(name).starts_with(&prefix);
        let found = std::fs::read_dir(root).into_iter().flatten().flatten();
        found.filter(|entry| entry.file_name().to_str().is_some_and(is_session)).map(|entry| entry.path()).collect()
    }

    /// Whether its parts are still where they were, and not something that somebody else put there.
    pub(crate) fn is_there(&self) -> bool {
        let [blobs, areas] = self.parts;
        blobs.is_at(&self.path.join(BLOBS)) && areas.is_at(&self.path.join(AREAS))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn blobs(&self) -> BorrowedFd<'_> {
        self.blobs.as_fd()
    }

    pub(crate) fn blob_path(&self, name: &str) -> PathBuf {
        self.path.join(BLOBS).join(name)
    }

    pub(crate) fn areas(&self) -> BorrowedFd<'_> {
        self.areas.as_fd()
    }

    pub(crate) fn area_path(&self, name: &str) -> PathBuf {
        self.path.join(AREAS).join(name)
    }

    /// Whether this process made the session, not a process that it was forked from.
    pub(crate) fn is_own(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_own() {
            remove_held(self.root.as_fd(), self.dir.as_fd(), &self.name, &self.lock)
                .unwrap_or_else(|error| warn_left(&self.path, &error));
        }
    }
}

/// Removes the session directory `dir`, named `name` in `root`, whose lock the caller holds. The lock is removed last, so
/// that a process that is killed in the middle leaves what another can remove.
pub(crate) fn remove_held(root: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str, _held: &File) -> io::Result<()> {
    let id = FileId::of(&fstat(dir)?);
    match tree::empty(dir, Some(LOCK)) {
        // Somebody has removed it already.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        emptied => emptied?,
    }
    let unlocked = unlinkat(dir, LOCK, AtFlags::empty());
    // What lies there now may belong to somebody else.
    let removed = match statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileId::of(&found) == id => unlinkat(root, name, AtFlags::REMOVEDIR),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    for result in [unlocked, removed] {
        match result {
            // Not empty: another host has just made its own lock in it to remove it, and does the rest.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The beginning of the names of this user's sessions.
pub(crate) fn prefix() -> String {
    format!("bivium-{}-", rustix::process::geteuid().as_raw())
}

/// Opens the directory in which sessions lie. Refuses it if every user may rename what is in it.
pub(crate) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let fd = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&fd)?.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "every user may rename files in it; set its sticky bit (`chmod +t`)",
        ));
    }
    Ok(fd)
}

/// Opens a directory of this user. Follows no link.
pub(crate) fn open_own_dir(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let dir = openat(parent, name, DIRECTORY, Mode::empty())?;
    if fstat(&dir)?.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Errno::PERM.into());
    }
    Ok(dir)
}

/// Identifies a file or directory independently of its name, as long as it is held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self(stat.st_dev, stat.st_ino)
    }

    /// Whether a path leads to it. A symbolic link as the last part does not.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        rustix::fs::lstat(path).is_ok_and(|found| Self::of(&found) == self)
    }
}

pub(crate) fn same(one: &Stat, other: &Stat) -> bool {
    FileId::of(one) == FileId::of(other)
}

fn was_taken(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY))
}

pub(crate) fn warn_left(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "cannot remove a directory of the exchange completely");
}
