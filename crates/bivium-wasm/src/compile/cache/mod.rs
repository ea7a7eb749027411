//! [`Cache`]: compiled components on disk, so that a second host maps what a first one compiled.
//!
//! ```text
//! components/            0700, ours
//!   KEY/                 one entry; KEY is the SHA-256 of the component's own, the engine's version and settings
//!     code               the compiled component, read-only
//!     seal               its SHA-256, and its stamp when that was made
//!   digests/             for component files that do not change, the SHA-256, so that a load need not read them
//!   lock                 held shared by whoever makes an entry, alone by whoever tidies
//!   .RANDOM              what is being made, or thrown away
//! ```
//!
//! An entry is made under a hidden name and takes its place in one rename. None is ever written to after that, so that
//! what a process has mapped stays as it is; removing one takes away names only. When an entry is opened, its stamp is
//! compared with the seal's; if it differs, the digest is; if that differs too, the entry is thrown away. What holds
//! others off is the directory: who can write there can be this user, and could change the host itself as well.

mod dir;
mod draft;
mod tidy;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::code::Code;
use super::digest::Digest;
use super::stamp::Stamp;

pub(crate) use draft::Draft;

/// Counts up when what an entry consists of changes.
const FORMAT: &str = "bivium compiled component 1";
const CODE: &str = "code";
const SEAL: &str = "seal";
const DIGESTS: &str = "digests";
const LOCK: &str = "lock";

/// How long ago a file must have changed for its stamp to be believed: above the tick of any kernel.
const SETTLED: Duration = Duration::from_millis(20);

/// The name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(Digest);

impl Key {
    /// The key under which an engine's code of a component lies.
    pub(crate) fn new(engine: &Engine, component: Digest) -> Self {
        Self(Digest::of_hashed(&[FORMAT, &component.to_string()], &engine.precompile_compatibility_hash()))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What was found out of a file, and how the file was then.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    sha256: Digest,
    /// None where the file system's times are too coarse: the digest is then checked each time.
    stamp: Option<Stamp>,
}

impl Seal {
    fn read(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<Self>> {
        let text = dir::read_note(parent, name)?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    fn write(&self, parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        dir::write_note(parent, name, &serde_json::to_string(self)?)
    }
}

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    dir: OwnedFd,
    digests: OwnedFd,
    /// Bytes of compiled code that are kept.
    limit: u64,
    /// Whether it was told that something cannot be kept.
    told: Once,
}

impl Cache {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let dir = dir::make(path)?;
        let digests = dir::make_in(dir.as_fd(), DIGESTS)?;
        Ok(Self { path: path.to_owned(), dir, digests, limit, told: Once::new() })
    }

    /// Says, once, that something cannot be kept: the disk may be full, or read-only.
    pub(crate) fn cannot_keep(&self, error: &io::Error) {
        self.told.call_once(|| {
            tracing::warn!(
                cache = %self.path.display(), %error,
                "a compiled component cannot be kept in the cache, the next load compiles it anew"
            );
        });
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The code of an entry, if it is there and as it was made. One that is not is thrown away, with a warning.
    pub(crate) fn find(&self, key: Key) -> Option<Code> {
        let error = match self.open_entry(key) {
            Ok(code) => return Some(code),
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::NotFound {
            let entry = self.path.join(key.to_string());
            tracing::warn!(entry = %entry.display(), %error, "a compiled component was changed in the cache; it is thrown away and compiled anew");
        }
        self.discard(key);
        None
    }

    fn open_entry(&self, key: Key) -> io::Result<Code> {
        let changed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let entry = dir::open_in(self.dir.as_fd(), &key.to_string())?;
        let file = dir::open_file(entry.as_fd(), CODE)?;
        let seal = Seal::read(entry.as_fd(), SEAL)?.ok_or_else(|| changed("its seal is gone"))?;
        let stamp = Stamp::of(&file)?;
        if seal.stamp != Some(stamp) {
            if Digest::of_file(&file)? != seal.sha256 {
                return Err(changed("its SHA-256 is not the one that it had"));
            }
            // Copied or restored from a backup, say. A seal that cannot be written costs time, no more.
            let stamp = stamp.is_settled(SETTLED).then_some(stamp);
            let _ = Seal { stamp, ..seal }.write(entry.as_fd(), SEAL);
        }
        mark_as_used(&entry);
        Ok(Code::trusted(file, Some(seal.sha256)))
    }

    fn discard(&self, key: Key) {
        if let Err(error) = dir::remove(self.dir.as_fd(), &key.to_string()) {
            tracing::warn!(cache = %self.path.display(), %error, "cannot remove an entry of the cache");
        }
    }

    /// Begins a new entry. Waits while another host tidies, which does not take long.
    pub(crate) fn draft(self: &Arc<Self>) -> io::Result<Draft> {
        Draft::new(Arc::clone(self))
    }

    /// The digest that a file with this stamp had when it was last read.
    pub(crate) fn remembered(&self, stamp: &Stamp) -> Option<Digest> {
        // What cannot be read is not known.
        let known = Seal::read(self.digests.as_fd(), &name_of(stamp)).ok()??;
        (known.stamp == Some(*stamp)).then_some(known.sha256)
    }

    /// Remembers the digest of a file that has settled.
    pub(crate) fn remember(&self, stamp: &Stamp, sha256: Digest) {
        let known = Seal { sha256, stamp: Some(*stamp) };
        if let Err(error) = known.write(self.digests.as_fd(), &name_of(stamp)) {
            tracing::debug!(cache = %self.path.display(), %error, "cannot remember the digest of a component");
        }
    }

    fn lock_file(&self) -> io::Result<File> {
        match dir::create_file(self.dir.as_fd(), LOCK) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => dir::open_file(self.dir.as_fd(), LOCK),
            made => made,
        }
    }
}

/// One note for each file, whatever it becomes.
fn name_of(stamp: &Stamp) -> String {
    format!("{:x}-{:x}", stamp.device, stamp.inode)
}

/// The time at which an entry was last used is its directory's.
fn mark_as_used(entry: &OwnedFd) {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let now = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    // If not, it goes earlier than it need.
    let _ = futimens(entry, &now);
}

#[cfg(test)]
mod tests;
