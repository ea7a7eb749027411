//! [`Window`]: the directories in which a confined plugin instance finds the blobs that are lent to it.
//!
//! What a process may read is fixed when it starts, so blobs of later calls must be put where it may read. A window has a
//! directory in each place of the exchange, and a blob that is lent gets another name (a hard link) in the one on the same
//! file system. That costs two system calls, whatever its size. A caller's file on another file system is copied, and so is
//! a file that only its owner may link to.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::{Blob, PluginError, Result};
use rustix::fs::{AtFlags, CWD, Mode, linkat, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::area::Area;
use crate::errors::{REMOVED_HELP, failed};
use crate::random_name::random_name;
use crate::session::{open_own_dir, warn_left};
use crate::state::ExchangeState;
use crate::writer::BlobWriter;

const RANDOM_DIGITS: usize = 8;
const COPY_BYTES: usize = 1 << 20;

/// Directories (0700) that one plugin instance may read, and in which the host lends files. Drop it after the instance has
/// ended.
#[derive(Debug)]
pub struct Window {
    exchange: Arc<ExchangeState>,
    areas: Vec<Arc<Area>>,
}

/// A file's name in a window. Dropping it removes the name.
struct LentName {
    area: Arc<Area>,
    directory: String,
    name: OsString,
    /// The file that the name is for.
    _of: Blob,
}

impl Window {
    pub(crate) fn new(exchange: &Arc<ExchangeState>, areas: Vec<Area>) -> Self {
        Self { exchange: Arc::clone(exchange), areas: areas.into_iter().map(Arc::new).collect() }
    }

    /// The directories, which the instance must be allowed to read and must not be allowed to write to.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.areas.iter().map(|area| area.path())
    }

    /// Whether its directories are still where they were: see [`Area::is_there`].
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.areas.iter().all(|area| area.is_there())
    }

    /// Makes a blob readable in the window, under its own file name, until the returned blob is dropped. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// `not-found` or `denied` if its file cannot be read, `resource-exhausted` if there is no space for a copy of it.
    pub fn lend(&self, blob: &Blob) -> Result<Blob> {
        let name = blob.path().file_name().unwrap_or_default();
        for area in &self.areas {
            match link(area, blob, name) {
                Ok(lent) => return Ok(lent),
                // It is on another file system, belongs to another user (fs.protected_hardlinks), or has the most names allowed.
                Err(Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::MLINK) => {}
                Err(error) => return Err(unreadable(blob, error.into())),
            }
        }
        let copy = self.copy(blob)?;
        for area in &self.areas {
            if let Ok(lent) = link(area, &copy, name) {
                return Ok(lent);
            }
        }
        Err(PluginError::internal(format!("{} cannot be lent to a confined plugin", blob.path().display())))
    }

    fn copy(&self, blob: &Blob) -> Result<Blob> {
        let file = blob.open().map_err(|error| unreadable(blob, error))?;
        let mut writer = BlobWriter::new(&self.exchange, blob.media_type(), Some(blob.size()))?;
        let copied = io::copy(&mut BufReader::with_capacity(COPY_BYTES, file), &mut writer);
        match copied {
            Ok(_) => writer.finish(),
            // The writer reports its own errors.
            Err(error) => Err(writer.finish().err().unwrap_or_else(|| unreadable(blob, error))),
        }
    }
}

fn unreadable(blob: &Blob, error: io::Error) -> PluginError {
    if error.kind() == io::ErrorKind::NotFound && !blob.path().exists() {
        return PluginError::not_found(format!("the file of a blob is gone: {}", blob.path().display()))
            .with_help(REMOVED_HELP);
    }
    failed("lend", blob.path(), error)
}

/// Gives the file another name in the area. The name lies in a directory of its own, so that it can be the same.
fn link(area: &Arc<Area>, blob: &Blob, name: &OsStr) -> Result<Blob, Errno> {
    let directory = random_name(RANDOM_DIGITS).map_err(|_| Errno::IO)?;
    mkdirat(area.dir(), &directory, Mode::RWXU)?;
    let mut lent = LentName { area: Arc::clone(area), directory, name: name.to_owned(), _of: blob.clone() };
    let path: PathBuf = area.path().join(&lent.directory).join(&lent.name);
    let linked = open_own_dir(area.dir(), &lent.directory)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|directory| linkat(CWD, blob.path(), &directory, &lent.name, AtFlags::empty()));
    if let Err(error) = linked {
        lent.name.clear();
        return Err(error);
    }
    Ok(Blob::new(path, blob.media_type(), blob.size(), Some(Box::new(lent))))
}

impl Drop for LentName {
    fn drop(&mut self) {
        if !self.area.is_own() {
            return;
        }
        let name = Path::new(&self.directory).join(&self.name);
        let removed = match self.name.is_empty() {
            true => Ok(()),
            false => unlinkat(self.area.dir(), &name, AtFlags::empty()),
        }
        .and_then(|()| unlinkat(self.area.dir(), &self.directory, AtFlags::REMOVEDIR));
        match removed {
            // The window may have gone before.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => warn_left(self.area.path(), &error.into()),
        }
    }
}

impl fmt::Debug for LentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LentName({})", self.area.path().join(&self.directory).display())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::Exchange;
    use crate::place::Places;

    #[test]
    fn a_blob_is_lent_without_a_copy_wherever_it_lies() {
        let (main, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let exchange = Exchange::over(Places::for_test(main.path(), other.path(), 10), None);
        let window = exchange.window("test").unwrap();
        assert_eq!(window.directories().count(), 2);
        let file = main.path().join("clip.wav");
        std::fs::write(&file, "by reference").unwrap();
        let owned = exchange.write(b"0123", "text/plain").unwrap();
        for blob in [owned, Blob::by_reference(&file, None).unwrap()] {
            let lent = window.lend(&blob).unwrap();
            assert_ne!(lent.path(), blob.path());
            assert_eq!(lent.path().file_name(), blob.path().file_name());
            assert_eq!(lent.media_type(), blob.media_type());
            let inode = |blob: &Blob| blob.path().metadata().unwrap().ino();
            assert_eq!(inode(&lent), inode(&blob));
            // The same one twice.
            let again = window.lend(&blob).unwrap();
            assert_ne!(again.path(), lent.path());
            drop(lent);
            assert_eq!(std::fs::read(again.path()).unwrap(), std::fs::read(blob.path()).unwrap());
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"by reference", "the caller's file stays");
        assert!(window.directories().all(|directory| directory.read_dir().unwrap().count() == 0));
        assert_eq!(exchange.usage().blobs, 0);
        drop(window);
        assert_eq!(exchange.usage(), crate::Usage::default());
    }

    #[test]
    fn a_file_of_another_file_system_is_copied_and_the_copy_goes() {
        if !Path::new("/dev/shm").is_dir() {
            crate::skipped::skipped("there is no second file system");
            return;
        }
        let (main, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let exchange = Exchange::builder().root(main.path()).open().unwrap();
        let window = exchange.window("test").unwrap();
        let file = other.path().join("clip.wav");
        std::fs::write(&file, "on another file system").unwrap();
        let blob = Blob::by_reference(&file, None).unwrap();
        let lent = window.lend(&blob).unwrap();
        assert_eq!(std::fs::read(lent.path()).unwrap(), b"on another file system");
        assert!(lent.path().ends_with("clip.wav"));
        drop(lent);
        assert_eq!(exchange.usage().blobs, 0);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(window.lend(&blob).unwrap_err().code(), bivium_interface::ErrorCode::NotFound);
        assert!(window.directories().all(|directory| directory.read_dir().unwrap().count() == 0));
    }
}
