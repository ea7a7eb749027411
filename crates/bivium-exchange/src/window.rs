//! [`Window`]: where a plugin instance that may read nothing else finds the blobs that are lent to it.
//!
//! What a process may read is settled when it starts, so that blobs of later calls have to come to where it may: a window has
//! a directory in each place of the exchange, and a blob that is lent gets another name (a hard link) in the one that lies on
//! its own file system. That costs two system calls, whatever its size. A file of the caller's on another file system is
//! copied, and so is one that the system lets nobody link to but its owner.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::{Blob, PluginError, Result};
use rustix::fs::{AtFlags, CWD, Mode, linkat, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::Exchange;
use crate::area::Area;
use crate::errors::{LEAVE_IT, failed};
use crate::session::{open_own_dir, random_name, warn_left};

const RANDOM_DIGITS: usize = 8;
const COPY_BYTES: usize = 1 << 20;

/// Directories (0700) that one plugin instance may read, and the host lends files in. Drop it after the instance's end.
#[derive(Debug)]
pub struct Window {
    exchange: Exchange,
    panes: Vec<Arc<Area>>,
}

/// A name in a window. Goes when dropped.
struct Loan {
    pane: Arc<Area>,
    directory: String,
    name: OsString,
    /// The file that it stands for.
    _of: Blob,
}

impl Window {
    pub(crate) fn new(exchange: &Exchange, panes: Vec<Area>) -> Self {
        Self { exchange: exchange.clone(), panes: panes.into_iter().map(Arc::new).collect() }
    }

    /// The directories, which the instance must be allowed to read and must not be allowed to write to.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.panes.iter().map(|pane| pane.path())
    }

    /// Whether its directories still are where they were: see [`Area::is_there`].
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.panes.iter().all(|pane| pane.is_there())
    }

    /// Makes a blob readable in the window, under its own file name, until the blob that this gives is dropped. Blocks on the
    /// file system.
    ///
    /// # Errors
    /// `not-found` or `denied` if its file cannot be read, `resource-exhausted` if there is no room for a copy of it.
    pub fn lend(&self, blob: &Blob) -> Result<Blob> {
        let name = blob.path().file_name().unwrap_or_default();
        for pane in &self.panes {
            match link(pane, blob, name) {
                Ok(lent) => return Ok(lent),
                // On another file system; another user's (fs.protected_hardlinks); as many names as it may have.
                Err(Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::MLINK) => {}
                Err(error) => return Err(unreadable(blob, error.into())),
            }
        }
        let copy = self.copy(blob)?;
        for pane in &self.panes {
            if let Ok(lent) = link(pane, &copy, name) {
                return Ok(lent);
            }
        }
        Err(PluginError::internal(format!("{} cannot be lent to a confined plugin", blob.path().display())))
    }

    fn copy(&self, blob: &Blob) -> Result<Blob> {
        let file = blob.open().map_err(|error| unreadable(blob, error))?;
        let mut writer = self.exchange.writer_sized(blob.media_type(), blob.size())?;
        let copied = io::copy(&mut BufReader::with_capacity(COPY_BYTES, file), &mut writer);
        match copied {
            Ok(_) => writer.finish(),
            // The writer tells its own errors itself.
            Err(error) => Err(writer.finish().err().unwrap_or_else(|| unreadable(blob, error))),
        }
    }
}

fn unreadable(blob: &Blob, error: io::Error) -> PluginError {
    if error.kind() == io::ErrorKind::NotFound && !blob.path().exists() {
        return PluginError::not_found(format!("the file of a blob is gone: {}", blob.path().display()))
            .with_help(LEAVE_IT);
    }
    failed("lend", blob.path(), error)
}

/// Gives the file another name, in a directory of its own so that it can be the one that it has.
fn link(pane: &Arc<Area>, blob: &Blob, name: &OsStr) -> Result<Blob, Errno> {
    let directory = random_name(RANDOM_DIGITS).map_err(|_| Errno::IO)?;
    mkdirat(pane.dir(), &directory, Mode::RWXU)?;
    let mut loan = Loan { pane: Arc::clone(pane), directory, name: name.to_owned(), _of: blob.clone() };
    let path: PathBuf = pane.path().join(&loan.directory).join(&loan.name);
    let linked = open_own_dir(pane.dir(), &loan.directory)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|directory| linkat(CWD, blob.path(), &directory, &loan.name, AtFlags::empty()));
    if let Err(error) = linked {
        loan.name.clear();
        return Err(error);
    }
    Ok(Blob::new(path, blob.media_type(), blob.size(), Some(Box::new(loan))))
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.pane.is_ours() {
            return;
        }
        let name = Path::new(&self.directory).join(&self.name);
        let removed = match self.name.is_empty() {
            true => Ok(()),
            false => unlinkat(self.pane.dir(), &name, AtFlags::empty()),
        }
        .and_then(|()| unlinkat(self.pane.dir(), &self.directory, AtFlags::REMOVEDIR));
        match removed {
            // The window may have gone before.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => warn_left(self.pane.path(), &error.into()),
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({})", self.pane.path().join(&self.directory).display())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::place::Places;

    #[test]
    fn a_blob_is_lent_without_a_copy_wherever_it_lies() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let exchange = Exchange::over(Places::for_test(near.path(), far.path(), 10), None);
        let window = exchange.window("test").unwrap();
        assert_eq!(window.directories().count(), 2);
        let file = near.path().join("clip.wav");
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
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let exchange = Exchange::builder().root(near.path()).open().unwrap();
        let window = exchange.window("test").unwrap();
        let file = far.path().join("clip.wav");
        std::fs::write(&file, "far away").unwrap();
        let blob = Blob::by_reference(&file, None).unwrap();
        let lent = window.lend(&blob).unwrap();
        assert_eq!(std::fs::read(lent.path()).unwrap(), b"far away");
        assert!(lent.path().ends_with("clip.wav"));
        drop(lent);
        assert_eq!(exchange.usage().blobs, 0);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(window.lend(&blob).unwrap_err().code(), bivium_interface::ErrorCode::NotFound);
        assert!(window.directories().all(|directory| directory.read_dir().unwrap().count() == 0));
    }
}
