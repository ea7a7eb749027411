//! [`AuditFile`]: the audit log as a file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bivium_interface::{ErrorCode, PluginError, Result};

use super::{AuditRecord, AuditSink};
use crate::log::ends_in_half_a_line;

/// Appends audit records to a file, one line of JSON each. Several hosts may append to the same file. If the file is moved or deleted, a
/// new one is created.
pub struct AuditFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl AuditFile {
    /// Opens the file, or creates it for this user only (0600). Blocks on the file system.
    ///
    /// # Errors
    /// `not-found`, `denied` or `invalid-input` if the file cannot be opened. The error names it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = opened(path).map_err(|error| match failed("open", path, &error) {
            // Any other error is caused by the path: a directory, or a name that is too long.
            error if error.code() == ErrorCode::Internal => {
                PluginError::invalid_input(error.message()).with_help("name a file")
            }
            error => error,
        })?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }
}

fn opened(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path) {
        // A file that this user may write but not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => OpenOptions::new().append(true).open(path),
        file => file,
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

impl AuditSink for AuditFile {
    fn record(&self, record: &AuditRecord) -> Result<()> {
        let json = serde_json::to_string(record).map_err(|error| PluginError::internal(error.to_string()))?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = || {
            if !is_at(&file, &self.path) {
                *file = opened(&self.path)?;
            }
            let line = if ends_in_half_a_line(&file)? { format!("\n{json}\n") } else { format!("{json}\n") };
            // One write for each line, because other hosts may append to the same file.
            if file.write(line.as_bytes())? < line.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
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
            PluginError::denied(message).with_help("give the host's user permission to write there")
        }
        ErrorKind::NotFound => PluginError::not_found(message).with_help("create its directory"),
        _ => PluginError::internal(message),
    }
}
