//! Directories that a host keeps: lists them, measures them and removes them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bivium_interface::{PluginError, Result};

/// The most files that are counted.
const MOST_FILES: usize = 1_000_000;

/// The directories in a directory, with their names; none if it does not exist.
///
/// # Errors
/// `internal` if it cannot be read.
pub(crate) fn directories(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error: io::Error| PluginError::internal(format!("cannot read {}: {error}", path.display()));
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            directories.push((name, entry.path()));
        }
    }
    Ok(directories)
}

/// The entries of a directory; none if it cannot be read.
pub(crate) fn children(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The disk use of files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// When one of them was last read or written, if the file system records it.
    pub(crate) used: Option<SystemTime>,
}

/// The disk use of a file, or of all files in a directory. Links are not followed, as they may lead out of it.
pub(crate) fn usage(path: &Path) -> Usage {
    let (mut left, mut usage) = (vec![path.to_owned()], Usage::default());
    let mut seen = 0_usize;
    while let Some(path) = left.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        seen += 1;
        if seen > MOST_FILES {
            break;
        }
        if metadata.is_dir() {
            left.extend(children(&path));
            continue;
        }
        usage.files += 1;
        usage.bytes = usage.bytes.saturating_add(metadata.len());
        let times = [metadata.accessed().ok(), metadata.modified().ok(), usage.used];
        usage.used = times.into_iter().flatten().max();
    }
    usage
}

/// Removes a directory that a host keeps, if it exists.
///
/// # Errors
/// `internal` or `denied` if it cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let message = format!("cannot remove {}: {error}", path.display());
            Err(match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PluginError::denied(message),
                _ => PluginError::internal(message),
            })
        }
        _ => Ok(()),
    }
}
