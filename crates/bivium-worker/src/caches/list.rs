//! Lists the caches of plugins, and removes them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bivium_interface::Result;
use serde::Deserialize;

use super::hold::alone;
use super::{ABOUT, FILES, PLUGINS};
use crate::{disk, environment};

/// The cache of a plugin's libraries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeptCache {
    /// The name of its directory.
    pub key: String,
    /// The plugin; None if the description is missing.
    pub plugin: Option<String>,
    /// Its manifest.
    pub manifest: Option<PathBuf>,
    /// Whether it is the cache of the confined form of the plugin.
    pub confined: bool,
    /// Its directory.
    pub path: PathBuf,
    /// How many files it contains.
    pub files: u64,
    /// Their total size.
    pub bytes: u64,
    /// When a host last began to use it.
    pub used: Option<SystemTime>,
    /// Whether a host has the plugin loaded.
    pub in_use: bool,
}

#[derive(Default, Deserialize)]
struct About {
    plugin: Option<String>,
    manifest: Option<PathBuf>,
    #[serde(default)]
    confined: bool,
}

/// The caches of plugins in a host's cache directory (by default the platform's), by plugin. Blocks on the file system.
///
/// # Errors
/// `internal` if the directory cannot be read.
pub fn kept_caches(cache: Option<&Path>) -> Result<Vec<KeptCache>> {
    let dir = cache.map_or_else(environment::cache_dir, |cache| Ok(cache.to_owned()))?.join(PLUGINS);
    let mut kept = Vec::new();
    for (key, path) in disk::directories(&dir)? {
        let about = bivium_interface::read_text(&path.join(ABOUT), 1 << 20).ok();
        let about: About = about.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let usage = disk::usage(&path.join(FILES));
        kept.push(KeptCache {
            key,
            plugin: about.plugin,
            manifest: about.manifest,
            confined: about.confined,
            files: usage.files,
            bytes: usage.bytes,
            used: path.metadata().and_then(|metadata| metadata.modified()).ok(),
            in_use: alone(&path).is_none(),
            path,
        });
    }
    kept.sort_by(|a, b| (&a.plugin, a.confined, &a.key).cmp(&(&b.plugin, b.confined, &b.key)));
    Ok(kept)
}

/// Removes a plugin's cache, unless a host has the plugin loaded. Returns whether it is gone. Blocks on the file system.
///
/// # Errors
/// `internal` or `denied` if it cannot be removed.
pub fn remove_cache(cache: &KeptCache) -> Result<bool> {
    let Some(_alone) = alone(&cache.path) else { return Ok(!cache.path.exists()) };
    disk::remove(&cache.path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::super::hold::Kept;
    use super::super::tests::{fill, manifest_at};
    use super::*;

    #[test]
    fn caches_are_listed_and_removed_unless_they_are_used() {
        let dir = tempfile::tempdir().unwrap();
        assert!(kept_caches(Some(dir.path())).unwrap().is_empty());
        let manifest = manifest_at(&dir.path().join("m"), "p");
        let [trusted, confined] = [false, true].map(|form| Kept::take(dir.path(), &manifest, form, 1 << 40).unwrap());
        fill(&trusted.files.join("torch/a"), 10);
        fill(&confined.files.join("torch/a"), 20);
        drop(trusted);
        let kept = kept_caches(Some(dir.path())).unwrap();
        let found: Vec<_> = kept.iter().map(|one| (one.confined, one.in_use, one.files, one.bytes)).collect();
        assert_eq!(found, [(false, false, 1, 10), (true, true, 1, 20)]);
        assert_eq!((kept[0].plugin.as_deref(), kept[0].manifest.as_ref()), (Some("p"), Some(&manifest.path)));
        assert!(remove_cache(&kept[0]).unwrap() && !kept[0].path.exists());
        assert!(!remove_cache(&kept[1]).unwrap() && kept[1].path.exists());
        drop(confined);
        assert!(remove_cache(&kept[1]).unwrap() && remove_cache(&kept[1]).unwrap());
    }
}
