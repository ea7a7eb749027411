//! What a plugin's libraries keep to be quicker the next time: models, compiled kernels, fonts. Each plugin has a directory of its
//! own on disk for that, which outlasts its workers and goes to no other plugin; its confined form and its trusted form have two, since
//! code that a confined worker leaves there would run with more rights.
//!
//! ```text
//! CACHE/plugins/KEY/              locked by every host that has the plugin loaded; KEY is a digest of its manifest's path, its name and form
//!                   plugin.json   whose it is, for people; out of the worker's reach
//!                   files/        what the libraries write
//! ```
//!
//! - [`Kept`]: a plugin's directory while it is loaded (`hold`), cut down to its limit before that (`bound`);
//! - `names`: the variables that lead libraries there;
//! - [`kept_caches`], [`remove_cache`]: for people (`list`).

mod bound;
mod hold;
mod list;
mod names;

pub(crate) use hold::Kept;
pub use list::{KeptCache, kept_caches, remove_cache};
pub(crate) use names::name;

/// Where caches of plugins lie in the host's cache.
const PLUGINS: &str = "plugins";
/// Whose a cache is.
const ABOUT: &str = "plugin.json";
/// What the plugin sees of it.
const FILES: &str = "files";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::manifest::PythonManifest;

    /// A manifest of this name in a directory.
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
