//! Where a host keeps what lasts.

use std::path::PathBuf;

/// Where saved configurations lie unless a host says otherwise: the platform's data directory. None for a user
/// without a home directory.
#[must_use]
pub fn default_data_dir() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "bivium").map(|dirs| dirs.data_dir().to_owned())
}
