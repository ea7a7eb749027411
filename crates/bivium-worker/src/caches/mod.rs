//! Caches of a plugin's libraries: models, compiled kernels, fonts. Each plugin has a directory of its own on disk for them, which is
//! kept when its workers end and is used by no other plugin. Its confined form and its trusted form have separate caches: otherwise code
//! that a confined worker puts there could run with more rights.
//!
//! ```text
//! CACHE/plugins/KEY/              locked by every host that has it loaded; KEY is a digest of the manifest's path, the name and the form
//!                   plugin.json   which plugin it belongs to, for people; the worker cannot reach it
//!                   files/        what the libraries write
//! ```
//!
//! - [`Kept`]: a plugin's directory while it is loaded (`hold`), cut down to its limit before that (`bound`);
//! - `names`: the variables that tell libraries to use it;
//! - [`kept_caches`], [`remove_cache`]: for people (`list`).

mod bound;
mod hold;
mod list;
mod names;

pub(crate) use hold::Kept;
pub use list::{KeptCache, kept_caches, remove_cache};
pub(crate) use names::name;

/// The directory of plugins' caches in the host's cache.
const PLUGINS: &str = "plugins";
/// The file that says which plugin a cache belongs to.
const ABOUT: &str = "plugin.json";
/// The directory that the plugin can use.
const FILES: &str = "files";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::manifest::PythonManifest;

    /// A manifest with this name in a directory.
    pub(super) fn manifest_at(directory: &Path, name: &str) -> PythonManifest {
        std::fs::create_dir_all(directory).unwrap();
        let path = directory.join("p.json");
        let text = format!(r#"{{"name": "{name}", "version": "1", "module": "m", "class": "C"}}"#);
        std::fs::write(&path, &text).unwrap();
        PythonManifest::parse(&text, &path).unwrap()
    }

    pub(super) fn fill(path: &Path, bytes: usize) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![b'x'; bytes]).unwrap();
    }
}
