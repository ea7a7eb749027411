//! [`Sources`]: the files that decide which code runs. A plugin that is held to its permissions must not write there: what it writes
//! would run with the permissions that it gives itself.

use std::path::{Path, PathBuf};

use bivium_interface::manifest::FilesystemMode;
use bivium_interface::{Granted, Manifest, PluginError, Result};

use crate::discovery::SearchPath;

const SEARCHED: &str = "manifests are looked for there";

/// What decides which code runs.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Directories with manifests, in them and in their immediate subdirectories.
    searched: Vec<PathBuf>,
    /// Files and directories, each with what it is.
    named: Vec<(PathBuf, String)>,
}

impl Sources {
    /// Where a host looks for manifests, and what those that it has found name.
    pub(crate) fn of<'a>(paths: &[SearchPath], found: impl Iterator<Item = &'a Manifest>) -> Self {
        let mut named = Vec::new();
        for manifest in found {
            let files = [
                (Some(&manifest.path), "the manifest"),
                (manifest.component.as_ref(), "the component"),
                (manifest.source.as_ref(), "the source"),
                (manifest.python_path.as_ref(), "the interpreter"),
            ];
            let files = files.into_iter().filter_map(|(path, what)| Some((path?, what)));
            let files = files.filter(|(path, _)| !path.as_os_str().is_empty());
            named.extend(files.map(|(path, what)| (real(path), format!("{what} of {:?}", manifest.name))));
        }
        Self { searched: paths.iter().map(|place| real(&place.path)).collect(), named }
    }

    /// Refuses a plugin that could write what decides which code runs. Blocks on the file system.
    ///
    /// # Errors
    /// `denied`, naming the grant and what lies in it.
    pub(crate) fn check(&self, granted: &Granted) -> Result<()> {
        if !granted.confined {
            return Ok(());
        }
        let written = granted.permissions.filesystem.iter().filter(|grant| grant.mode == FilesystemMode::Write);
        written.map(|grant| real(&grant.path)).try_for_each(|path| self.check_one(&path))
    }

    fn check_one(&self, granted: &Path) -> Result<()> {
        let holds = |path: &Path| path.starts_with(granted);
        let searched = self.searched.iter().find(|place| holds(place) || granted.parent() == Some(place.as_path()));
        let searched = searched.map(|place| (place, SEARCHED));
        let named = self.named.iter().find(|(path, _)| holds(path)).map(|(path, what)| (path, what.as_str()));
        let Some((place, what)) = named.or(searched) else { return Ok(()) };
        let message = format!(
            "permissions.filesystem grants {} for writing, and {} ({what}) is reached from there: whoever writes it decides which \
             code runs",
            granted.display(),
            place.display()
        );
        Err(PluginError::denied(message)
            .with_help("grant it with `\"mode\": \"read\"`, or a directory without manifests and code of plugins"))
    }
}

/// A path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let Ok(path) = std::path::absolute(path) else { return path.to_owned() };
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = there else { return path };
    path.strip_prefix(above).map_or_else(|_| path.clone(), |rest| real.components().chain(rest.components()).collect())
}

#[cfg(test)]
mod tests {
    use bivium_interface::HostPolicy;

    use super::*;

    fn manifest(dir: &Path, value: &serde_json::Value) -> Manifest {
        let name = value["name"].as_str().unwrap();
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join(format!("{name}.json"));
        std::fs::write(&path, value.to_string()).unwrap();
        Manifest::read(&path).unwrap()
    }

    #[test]
    fn no_confined_plugin_writes_what_decides_which_code_runs() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/in")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let other = serde_json::json!({
            "name": "other", "version": "1", "module": "m", "class": "C", "source": root.join("link/in"),
        });
        let other = manifest(&root.join("plugins"), &other);
        let wants = |path: PathBuf, mode: &str| {
            std::fs::create_dir_all(&path).unwrap();
            let filesystem = serde_json::json!([{"path": path, "guest": "/d", "mode": mode}]);
            let value = serde_json::json!({
                "name": "one", "version": "1", "component": "c.wasm", "permissions": {"filesystem": filesystem},
            });
            manifest(&root.join("plugins/one"), &value)
        };
        let searched =
            [SearchPath::named(root.join("plugins")), SearchPath::named(root.join("none/.bivium/manifests"))];
        let check = |path: PathBuf, mode: &str| {
            let own = wants(path, mode);
            let sources = Sources::of(&searched, [&own, &other].into_iter());
            sources.check(&HostPolicy::default().grant(&own))
        };
        for path in ["plugins", "plugins/one", "plugins/new", "", "real", "real/in", "none", "none/.bivium"] {
            let error = check(root.join(path), "write").unwrap_err();
            assert_eq!(error.code(), bivium_interface::ErrorCode::Denied);
            assert!(error.message().contains("decides which code runs"), "{error}");
            check(root.join(path), "read").unwrap();
        }
        for path in ["plugins/one/data", "real/in/data", "real/out", "out"] {
            check(root.join(path), "write").unwrap();
        }
    }

    #[test]
    fn a_trusted_plugin_is_not_asked() {
        let root = tempfile::tempdir().unwrap();
        let trusted =
            manifest(root.path(), &serde_json::json!({"name": "t", "version": "1", "module": "m", "class": "C"}));
        let sources = Sources::of(&[SearchPath::named(root.path())], std::iter::once(&trusted));
        sources.check(&HostPolicy::default().grant(&trusted)).unwrap();
    }
}
