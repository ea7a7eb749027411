//! Finding manifests: which plugins there are, and which files are not what they should be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::manifest::ManifestFile;
use bivium_interface::{Manifest, PluginError, Result};

/// What a look at the search paths found.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The manifests by plugin name; where several have one name, the one of the earliest path.
    pub found: BTreeMap<String, Arc<Manifest>>,
    /// Manifests whose name an earlier path has already.
    pub shadowed: Vec<PathBuf>,
    /// Files that are no valid manifest, and why.
    pub problems: Vec<(PathBuf, PluginError)>,
}

/// Where manifests are looked for unless a host says otherwise: `./.bivium/manifests`, then
/// `~/.bivium/manifests`.
#[must_use]
pub fn default_search_paths() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from(".bivium/manifests")];
    if let Some(dirs) = directories::BaseDirs::new() {
        paths.push(dirs.home_dir().join(".bivium/manifests"));
    }
    paths
}

/// Reads the manifests in the search paths, nearest first. A path is a directory (its `*.json`, and those of its
/// immediate subdirectories that are named after the directory, `redact/redact.json`) or one manifest. A path
/// that is not there is empty.
///
/// Blocks on the file system.
#[must_use]
pub fn discover(search_paths: &[PathBuf]) -> Discovery {
    let mut discovery = Discovery::default();
    for path in search_paths {
        for file in candidates(path, &mut discovery.problems) {
            match ManifestFile::read(&file) {
                Ok(ManifestFile::Plugin(manifest)) => {
                    if discovery.found.contains_key(&manifest.name) {
                        discovery.shadowed.push(file);
                    } else {
                        discovery.found.insert(manifest.name.clone(), Arc::new(*manifest));
                    }
                }
                // An adapter of the ancestor's declares no plugin of its own.
                Ok(ManifestFile::Adapter(_)) => {}
                Err(error) => discovery.problems.push((file, error)),
            }
        }
    }
    discovery
}

/// The files of one search path that should be manifests, in the order of their names.
fn candidates(path: &Path, problems: &mut Vec<(PathBuf, PluginError)>) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let what = format!("cannot read the manifest directory {}: {error}", path.display());
            problems.push((path.to_owned(), PluginError::denied(what)));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().filter_map(|entry| manifest_of(&entry.path())).collect();
    files.sort();
    files
}

fn manifest_of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        let own = path.join(format!("{}.json", path.file_name()?.to_str()?));
        return own.is_file().then_some(own);
    }
    path.extension().is_some_and(|extension| extension == "json").then(|| path.to_owned())
}

/// Reads one manifest that must be a plugin's.
///
/// # Errors
/// Those of [`ManifestFile::read`]; `invalid-manifest` for an adapter's.
pub fn read_plugin(path: &Path) -> Result<Manifest> {
    match ManifestFile::read(path)? {
        ManifestFile::Plugin(manifest) => Ok(*manifest),
        ManifestFile::Adapter(_) => Err(PluginError::invalid_manifest(format!(
            "{} declares an adapter, which is no plugin by itself",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path, file: &str, name: &str, version: &str) {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!(r#"{{"name": "{name}", "version": "{version}", "component": "x.wasm"}}"#);
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_nearer_shadows_the_farther_and_bad_files_are_reported() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        manifest(near.path(), "a.json", "a", "2");
        manifest(far.path(), "a.json", "a", "1");
        manifest(far.path(), "b-1.0/b-1.0.json", "b", "1");
        manifest(far.path(), "c/other.json", "c", "1");
        std::fs::write(far.path().join("broken.json"), "{").unwrap();
        std::fs::write(far.path().join("notes.txt"), "no manifest").unwrap();
        let paths = [near.path().to_owned(), far.path().to_owned(), near.path().join("missing")];

        let discovery = discover(&paths);
        let names: Vec<_> = discovery.found.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(discovery.found["a"].version, "2");
        assert_eq!(discovery.shadowed, [far.path().join("a.json")]);
        assert_eq!(discovery.problems.len(), 1);
        assert!(discovery.problems[0].0.ends_with("broken.json"));
    }
}
