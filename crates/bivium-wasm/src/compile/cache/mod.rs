//! [`Cache`]: compiled components on disk, so that a second host can reuse what a first one compiled.
//!
//! ```text
//! components/            0700, of this user
//!   KEY/                 one entry; KEY is the SHA-256 of the component's SHA-256, the engine's version and its settings
//!     code               the compiled component, read-only
//!     seal               its SHA-256, and its stamp at the time when that was computed
//!   digests/             the SHA-256 of component files that do not change, so that a load need not read them
//!   lock                 shared by hosts that make an entry, exclusive for a host that tidies
//!   .RANDOM              an entry that is being made or removed
//! ```
//!
//! An entry is made under a hidden name and put in place by one rename. It is never written to after that, so that the code that a
//! process has mapped stays the same; removing an entry only removes names. When an entry is opened, its stamp is compared with the
//! seal's. If it differs, the SHA-256 is compared; if that differs too, the entry is removed. The protection is the directory's mode:
//! whoever can write there has this user's rights, and could change the host itself as well.

mod dir;
mod draft;
mod tidy;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::code::Code;
use super::digest::Digest;
use super::stamp::FileStamp;

pub(crate) use draft::Draft;

/// Changes when the format of an entry changes.
const FORMAT: &str = "bivium compiled component 1";
const CODE: &str = "code";
const SEAL: &str = "seal";
const DIGESTS: &str = "digests";
const LOCK: &str = "lock";

/// How long ago a file must have changed for its stamp to be reliable: more than the tick of any kernel.
const SETTLED: Duration = Duration::from_millis(20);

/// The name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheKey(Digest);

impl CacheKey {
    /// The key of a component's code for an engine.
    pub(crate) fn new(engine: &Engine, component: Digest) -> Self {
        Self(Digest::of_hashed(&[FORMAT, &component.to_string()], &engine.precompile_compatibility_hash()))
    }
}

impl std::fmt::Display for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 of a file, and the file's stamp at that time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    sha256: Digest,
    /// `None` if the file system's times are too coarse: then the SHA-256 is computed each time.
    stamp: Option<FileStamp>,
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
    /// The most bytes of compiled code that are kept.
    limit: u64,
    /// For the warning that something cannot be stored, which is written once.
    warned: Once,
}

impl Cache {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let dir = dir::make(path)?;
        let digests = dir::make_in(dir.as_fd(), DIGESTS)?;
        Ok(Self { path: path.to_owned(), dir, digests, limit, warned: Once::new() })
    }

    /// Warns once that something cannot be stored: the disk may be full or read-only.
    pub(crate) fn warn_not_stored(&self, error: &io::Error) {
        self.warned.call_once(|| {
            tracing::warn!(
                cache = %self.path.display(), %error,
                "a compiled component cannot be stored in the cache; the next load compiles it again"
            );
        });
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The code of an entry, if it exists and is unchanged. A changed entry is removed, with a warning.
    pub(crate) fn find(&self, key: CacheKey) -> Option<Code> {
        let error = match self.open_entry(key) {
            Ok(code) => return Some(code),
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::NotFound {
            let entry = self.path.join(key.to_string());
            tracing::warn!(
                entry = %entry.display(), %error,
                "a compiled component was changed in the cache; it is removed and compiled again"
            );
        }
        self.discard(key);
        None
    }

    fn open_entry(&self, key: CacheKey) -> io::Result<Code> {
        let changed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let entry = dir::open_in(self.dir.as_fd(), &key.to_string())?;
        let file = dir::open_file(entry.as_fd(), CODE)?;
        let seal = Seal::read(entry.as_fd(), SEAL)?.ok_or_else(|| changed("its seal is missing"))?;
        let stamp = FileStamp::of(&file)?;
        if seal.stamp != Some(stamp) {
            if Digest::of_file(&file)? != seal.sha256 {
                return Err(changed("its SHA-256 is different"));
            }
            // Copied or restored from a backup, for example. If the seal cannot be written, the next load is only slower.
            let stamp = stamp.is_settled(SETTLED).then_some(stamp);
            let _ = Seal { stamp, ..seal }.write(entry.as_fd(), SEAL);
        }
        mark_as_used(&entry);
        Ok(Code::trusted(file, Some(seal.sha256)))
    }

    fn discard(&self, key: CacheKey) {
        if let Err(error) = dir::remove(self.dir.as_fd(), &key.to_string()) {
            tracing::warn!(cache = %self.path.display(), %error, "cannot remove an entry of the cache");
        }
    }

    /// The digest that a file with this stamp had when it was last read.
    pub(crate) fn remembered(&self, stamp: &FileStamp) -> Option<Digest> {
        // A note that cannot be read counts as missing.
        let known = Seal::read(self.digests.as_fd(), &name_of(stamp)).ok()??;
        (known.stamp == Some(*stamp)).then_some(known.sha256)
    }

    /// Remembers the digest of a file that has settled.
    pub(crate) fn remember(&self, stamp: &FileStamp, sha256: Digest) {
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

/// There is one note for each file, also after the file changes.
fn name_of(stamp: &FileStamp) -> String {
    format!("{:x}-{:x}", stamp.device, stamp.inode)
}

/// The time of an entry's last use is the modification time of its directory.
fn mark_as_used(entry: &OwnedFd) {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let now = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    // If this fails, the entry is only removed earlier than necessary.
    let _ = futimens(entry, &now);
}

#[cfg(test)]
mod tests;
