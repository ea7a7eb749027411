//! Makes a manifest's paths absolute.
//!
//! Only the text of the paths is used. No file is read and no symbolic link is followed, because the interpreter of a virtual environment
//! is a link whose target belongs to another environment. `..` is kept for the same reason.

use std::path::{Path, PathBuf};

use super::document::Document;

/// Makes every relative path absolute, from the directory of the manifest at `path`.
pub(super) fn resolve(document: &mut Document, path: &Path) {
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let filesystem = document.permissions.iter_mut().flat_map(|permissions| &mut permissions.filesystem);
    let own = [&mut document.component, &mut document.source, &mut document.python_path];
    let all = own.into_iter().flatten().chain(filesystem.map(|directory| &mut directory.path));
    for path in all {
        *path = absolute(&base.join(&*path));
    }
}

/// The absolute path; unchanged if the working directory no longer exists.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
