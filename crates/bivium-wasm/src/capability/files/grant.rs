//! [`FilesGrant`]: the directories that one component is granted, opened once for all its instances.

use std::sync::Arc;

use bivium_instances::Protected;
use bivium_interface::manifest::Permissions;
use bivium_interface::{PluginError, Result};
use tokio::sync::Mutex;

use super::blob_files;
use super::directory::{BLOB_FILES, Directory, FILESYSTEM};
use crate::store::AccessRecorder;

/// What one component is granted.
#[derive(Default)]
pub(crate) struct FilesGrant {
    pub(super) directories: Vec<Directory>,
    /// Whether the blobs of a call are shown as files.
    pub(super) blob_files: bool,
    /// Locked while a symbolic link is made or something is moved: what was checked must not change meanwhile.
    pub(super) moves: Arc<Mutex<()>>,
}

impl FilesGrant {
    /// Opens what is granted. Blocks on the file system.
    ///
    /// # Errors
    /// `not-found`, `denied` or `invalid-manifest` if a directory cannot be opened or granted; the error names it and the permission.
    pub(crate) fn open(permissions: &Permissions, protected: &Protected) -> Result<Self> {
        let granted = &permissions.filesystem;
        if permissions.blob_files && granted.iter().any(|directory| directory.guest == blob_files::GUEST) {
            return Err(PluginError::invalid_manifest(format!(
                "`{FILESYSTEM}` uses the guest path {}, which `{BLOB_FILES}` uses for the blobs of a call",
                blob_files::GUEST
            ))
            .with_help("give the directory another `guest` path"));
        }
        Ok(Self {
            directories: granted
                .iter()
                .map(|directory| Directory::open(directory, protected))
                .collect::<Result<_>>()?,
            blob_files: permissions.blob_files,
            moves: Arc::default(),
        })
    }

    /// What the guest lacks, if it has asked for its directories and its error says that a file was not found.
    pub(crate) fn missed(&self, access: &AccessRecorder, error: &str) -> Option<String> {
        /// How standard libraries say that a file is not there.
        const NO_FILE: &[&str] = &[
            "no such file",
            "not found",
            "no-entry",
            "enoent",
            "pre-opened",
            "preopen",
            "capabilities insufficient",
            "notcapable",
            "not-permitted",
            "not permitted",
        ];
        let has_none = self.directories.is_empty() && !self.blob_files;
        let not_found = || NO_FILE.iter().any(|said| error.contains(said));
        (has_none && access.has_used(FILESYSTEM) && not_found()).then(|| format!("no directory (`{FILESYSTEM}`)"))
    }
}
