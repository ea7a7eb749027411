//! [`AuditFile`]: the audit log as a file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bivium_interface::{PluginError, Result};

use super::{AuditRecord, AuditSink};

/// Appends audit records to a file, one line of JSON each. Several hosts may append to the same one. A file that was moved
/// away or deleted is made anew.
pub struct AuditFile {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    /// Whether the last line may have been written in part.
    torn: bool,
}

impl AuditFile {
    /// Opens the file, or makes it for this user only (0600). Blocks on the file system.
    ///
    /// # Errors
    /// `denied` or `internal` if it cannot be opened, naming it.
    pub fn open(path: &Path) -> Result<Self> {
        let open = Open::new(path).map_err(|error| failed("open", path, &error))?;
        Ok(Self { path: path.to_owned(), open: Mutex::new(open) })
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = match file {
            // A pipe, or a file that this user may write to and not read.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => OpenOptions::new().append(true).open(path)?,
            file => file?,
        };
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        // A host that was killed, or had no room left, may have left half a line.
        let torn = size > 0 && file.read_at(&mut last, size - 1).is_ok_and(|read| read == 1) && last != *b"\n";
        Ok(Self { file, torn })
    }

    fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), path.metadata()) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// One write a line: other hosts may append to the same file.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.torn = true;
        if self.file.write(line)? < line.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.torn = false;
        Ok(())
    }
}

impl AuditSink for AuditFile {
    fn record(&self, record: &AuditRecord) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|error| PluginError::internal(error.to_string()))?;
        line.push(b'\n');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || {
            if !open.is_at(&self.path) {
                *open = Open::new(&self.path)?;
            }
            open.append(&line)
        };
        write().map_err(|error| failed("write to", &self.path, &error))
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> PluginError {
    let message = format!("the host cannot {verb} the audit log {}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            PluginError::resource_exhausted(message).with_help("free some space there")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            PluginError::denied(message).with_help("let the host's user write there")
        }
        _ => PluginError::internal(message),
    }
}
