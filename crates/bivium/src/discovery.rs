//! Finding manifests: which plugins there are, and which files are not what they should be.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::manifest::{AdapterManifest, ManifestFile};
use bivium_interface::{Manifest, PluginError, Result};

/// What a look at the search paths found.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// The manifests by plugin name; where several have one name, the one of the earliest path.
    pub found: BTreeMap<String, Arc<Manifest>>,
    /// Manifests whose name an earlier path has already.
    pub shadowed: Vec<PathBuf>,
    /// Adapters of cjm-plugin-system, each once. Plugins have those that fit in [`Ancestor::adapters`].
    ///
    /// [`Ancestor::adapters`]: bivium_interface::manifest::Ancestor::adapters
    pub adapters: Vec<Arc<AdapterManifest>>,
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
/// immediate subdirectories that are named after the directory, `redact/redact.json`) or one manifest, with the
/// adapters beside it. A path that is not there is empty.
///
/// Blocks on the file system.
#[must_use]
pub fn discover(search_paths: &[PathBuf]) -> Discovery {
    let mut discovery = Discovery::default();
    let mut found = BTreeMap::new();
    for path in search_paths {
        for file in candidates(path, &mut discovery.problems) {
            match ManifestFile::read(&file) {
                Ok(ManifestFile::Plugin(manifest)) => match found.entry(manifest.name.clone()) {
                    Entry::Occupied(_) => discovery.shadowed.push(file),
                    Entry::Vacant(place) => {
                        place.insert(*manifest);
                    }
                },
                Ok(ManifestFile::Adapter(adapter)) => discovery.add_adapter(*adapter),
                Err(error) => discovery.problems.push((file, error)),
            }
        }
        for file in adapters_beside(path) {
            if let Ok(ManifestFile::Adapter(adapter)) = ManifestFile::read(&file) {
                discovery.add_adapter(*adapter);
            }
        }
    }
    discovery.found = found.into_iter().map(|(name, manifest)| (name, Arc::new(discovery.adapted(manifest)))).collect();
    discovery
}

impl Discovery {
    fn add_adapter(&mut self, adapter: AdapterManifest) {
        if !self.adapters.iter().any(|known| known.name == adapter.name) {
            self.adapters.push(Arc::new(adapter));
        }
    }

    /// The manifest with the adapters that were found and fit.
    fn adapted(&self, mut manifest: Manifest) -> Manifest {
        if let Some(ancestor) = &mut manifest.ancestor {
            ancestor.adapt(&self.adapters);
        }
        manifest
    }
}

/// The files beside a manifest that is a search path by itself whose names say that they declare adapters.
fn adapters_beside(path: &Path) -> Vec<PathBuf> {
    let beside = path.parent().filter(|_| path.is_file()).and_then(|parent| std::fs::read_dir(parent).ok());
    let entries = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| is_adapter(path)).collect();
    files.sort();
    files
}

fn is_adapter(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("adapter-") && name.ends_with(".json")
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

/// Reads one manifest that must be a plugin's, with the adapters beside it and in `search_paths`.
///
/// # Errors
/// Those of [`Manifest::read`].
pub(crate) fn read_adapted(path: &Path, search_paths: &[PathBuf]) -> Result<Manifest> {
    let manifest = Manifest::read(path)?;
    if manifest.ancestor.is_none() {
        return Ok(manifest);
    }
    let paths: Vec<PathBuf> = std::iter::once(path.to_owned()).chain(search_paths.iter().cloned()).collect();
    Ok(discover(&paths).adapted(manifest))
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
