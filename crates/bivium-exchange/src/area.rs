//! [`Area`]: the part of the exchange in which one plugin instance may write, and the checks by which a file in it
//! becomes a blob.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bivium_interface::{Blob, PluginError, Result};
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, statat};
use rustix::io::Errno;

use crate::errors::{REMOVED_HELP, failed, quoted};
use crate::ledger::{Charge, Kind};
use crate::media_type;
use crate::random_name::random_name;
use crate::session::{FileId, Session, open_own_dir, same, warn_left};
use crate::state::ExchangeState;
use crate::tree;
use crate::writer::Stored;

/// Label and digits together: see [`crate::session::RANDOM_DIGITS`].
const LABEL_BYTES: usize = 12;
const RANDOM_DIGITS: usize = 8;

/// A directory (0700) in which one plugin instance may write, for example a worker's TMPDIR. It lies in memory if 1 GiB
/// is free there, else in the temp directory. Dropping the area deletes it with its content; drop it after the worker
/// has ended. Blobs adopted from it stay.
pub struct Area {
    exchange: Arc<ExchangeState>,
    session: Arc<Session>,
    name: String,
    path: PathBuf,
    dir: Dir,
    id: FileId,
    _charge: Charge,
}

impl Area {
    pub(crate) fn new(exchange: &Arc<ExchangeState>, label: &str) -> Result<Self> {
        Self::within(exchange, exchange.places.for_area()?, label)
    }

    pub(crate) fn within(exchange: &Arc<ExchangeState>, session: Arc<Session>, label: &str) -> Result<Self> {
        let made = || {
            let name = format!("{}{}", named(label), random_name(RANDOM_DIGITS)?);
            mkdirat(session.areas(), &name, Mode::RWXU)?;
            let dir = Dir::from_std_file(File::from(open_own_dir(session.areas(), &name)?));
            let id = FileId::of(&fstat(&dir)?);
            Ok((name, dir, id))
        };
        let (name, dir, id) = made().map_err(|error: io::Error| failed("make an area in", session.path(), error))?;
        let path = session.area_path(&name);
        let charge = Charge::new(&exchange.ledger, Kind::Area);
        Ok(Self { exchange: Arc::clone(exchange), session, name, path, dir, id, _charge: charge })
    }

    /// Where it lies: an absolute path without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still where it was. Somebody may have removed it, for example a cleaner of temporary directories. Then
    /// nothing can be written there any more, and its user needs another area.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.id.is_at(&self.path)
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Whether this process made it.
    pub(crate) fn is_own(&self) -> bool {
        self.session.is_own()
    }

    /// Takes a file that the plugin wrote in its area and handed back, without a copy: it is moved to a directory where the
    /// plugin has no name for it, and made read-only. A plugin that still has it open can go on changing its bytes.
    ///
    /// # Errors
    /// `denied` unless `relative` leads, beneath the area, to a regular file of this user with no other name; `not-found` if
    /// somebody has removed the area; `invalid-input` if the media type is not valid; `resource-exhausted` past the
    /// exchange's quota.
    pub fn adopt(&self, relative: &str, media_type: &str) -> Result<Blob> {
        media_type::check(media_type)?;
        let denied = |reason: &str| {
            if !self.is_there() {
                let message = format!(
                    "the file {} is gone: somebody has removed the plugin's directory {}",
                    quoted(relative),
                    self.path.display()
                );
                return PluginError::not_found(message).with_help(REMOVED_HELP);
            }
            PluginError::denied(format!("cannot take {} as a blob: {reason}", quoted(relative)))
                .with_help("hand back a regular file that lies in the plugin's own temporary directory")
        };
        let (parent, name) = self.beneath(relative).map_err(|error| denied(&reason(&error)))?;
        let file = open_plain(parent.as_fd(), &name).map_err(|error| denied(&reason(&error)))?;

        let charge = Charge::new(&self.exchange.ledger, Kind::Blob);
        let session = if self.session.is_there() {
            Arc::clone(&self.session)
        } else {
            self.exchange.places.in_place_of(&self.session)?
        };
        let mut stored = Stored::unnamed(Arc::clone(&session), charge, media_type)?;
        renameat(&parent, &name, session.blobs(), &stored.name).map_err(|error| denied(&reason(&error.into())))?;
        match checked_after_move(session.blobs(), &stored.name, &file) {
            Ok(size) => {
                stored.charge.grow(size)?;
                stored.into_blob(&file, media_type, size)
            }
            Err(error) => {
                // The plugin may have put anything there, even a directory.
                let removed = CString::new(stored.name.as_str()).map_err(io::Error::from);
                removed
                    .and_then(|name| tree::remove(session.blobs(), &name))
                    .unwrap_or_else(|error| warn_left(session.path(), &error));
                Err(denied(&reason(&error)))
            }
        }
    }

    /// The directory to which the plugin's path leads, beneath the area, and the file's name in it.
    fn beneath(&self, relative: &str) -> io::Result<(Dir, CString)> {
        let path = Path::new(relative);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let (true, Some(parent), Some(name)) = (plain, path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(io::Error::other("the path is not beneath the plugin's part of the exchange"));
        };
        let name = CString::new(name)?;
        let dir = if parent == Path::new("") { self.dir.try_clone()? } else { self.dir.open_dir(parent)? };
        Ok((dir, name))
    }
}

/// Opens a file if it may become a blob. Does not block on a pipe.
fn open_plain(parent: BorrowedFd<'_>, name: &CString) -> io::Result<File> {
    // Checked before it is opened: opening a device can have effects.
    check_plain(&statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(parent, name, flags, Mode::empty())?);
    check_plain(&fstat(&file)?)?;
    Ok(file)
}

/// The size, if the moved name is still the file that was opened: the plugin may have swapped it in between.
fn checked_after_move(blobs: BorrowedFd<'_>, name: &str, file: &File) -> io::Result<u64> {
    let stat = fstat(file)?;
    if !same(&statat(blobs, name, AtFlags::SYMLINK_NOFOLLOW)?, &stat) {
        return Err(io::Error::other("the plugin put something else in its place"));
    }
    check_plain(&stat)?;
    Ok(u64::try_from(stat.st_size).unwrap_or_default())
}

fn check_plain(stat: &Stat) -> io::Result<()> {
    let wrong = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_uid != rustix::process::geteuid().as_raw() => "it belongs to another user",
        FileType::RegularFile if stat.st_nlink != 1 => "it has another name (a hard link)",
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "it is a symbolic link",
        FileType::Directory => "it is a directory",
        _ => "it is not a regular file",
    };
    Err(io::Error::other(wrong))
}

fn reason(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => "there is no such file".to_owned(),
        Some(Errno::LOOP) => "it is a symbolic link".to_owned(),
        _ => error.to_string(),
    }
}

/// The characters of a label that are safe in a file name, with a hyphen behind them.
fn named(label: &str) -> String {
    let mut name: String =
        label.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(LABEL_BYTES).collect();
    if !name.is_empty() {
        name.push('-');
    }
    name
}

impl Drop for Area {
    fn drop(&mut self) {
        if !self.session.is_own() {
            return;
        }
        CString::new(self.name.as_str())
            .map_err(io::Error::from)
            .and_then(|name| tree::remove(self.session.areas(), &name))
            .unwrap_or_else(|error| warn_left(&self.path, &error));
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Area({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_swapped_after_it_was_opened_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let dir = File::open(root.path()).unwrap();
        let there = |name: &str| root.path().join(name);
        fs::write(there("a"), "12345").unwrap();
        let file = open_plain(dir.as_fd(), &c"a".to_owned()).unwrap();
        assert_eq!(checked_after_move(dir.as_fd(), "a", &file).unwrap(), 5);
        fs::hard_link(there("a"), there("b")).unwrap();
        assert!(checked_after_move(dir.as_fd(), "a", &file).is_err());
        fs::remove_file(there("a")).unwrap();
        fs::write(there("a"), "other").unwrap();
        assert!(checked_after_move(dir.as_fd(), "a", &file).is_err());
    }

    #[test]
    fn only_safe_characters_of_a_label_get_into_a_file_name() {
        assert_eq!(named("../Whis per.en-large-v3"), "Whisperen-la-");
        assert_eq!(named("日本"), "");
    }
}
