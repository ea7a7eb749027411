//! Where files that can be made again lie, environments among them.

use std::path::{Path, PathBuf};

use bivium_interface::PluginError;

/// The platform's cache directory, for files that can be made again.
///
/// # Errors
/// `internal` for a user without a home directory.
pub(crate) fn cache_dir() -> Result<PathBuf, PluginError> {
    let directories = directories::ProjectDirs::from("", "", "bivium");
    directories.map(|directories| directories.cache_dir().to_owned()).ok_or_else(|| {
        PluginError::internal("this user has no home directory, so there is no cache directory").with_help("set HOME")
    })
}

/// The directory of environments: the given one, or one in [`cache_dir`].
pub(super) fn place(given: Option<&Path>) -> Result<PathBuf, PluginError> {
    match given {
        Some(given) => {
            std::path::absolute(given).map_err(|error| PluginError::internal(format!("{}: {error}", given.display())))
        }
        None => Ok(cache_dir()?.join("environments")),
    }
}
