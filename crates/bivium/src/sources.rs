//! Protects the files that decide which code runs. A confined plugin must not be able to write them: otherwise it could run code with
//! permissions that it grants itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::manifest::FilesystemMode;
use bivium_interface::policy::real;
use bivium_interface::{Granted, Manifest, PluginError, Result};

use crate::discovery::{SearchPath, absolute};

/// Refuses a confined plugin that could write into a directory where the host looks for manifests, or to a file that a known manifest
/// names. Blocks on the file system if the plugin may write anywhere.
///
/// # Errors
/// `denied`. The error names the grant and the file or directory in it.
pub(crate) fn check(
    granted: &Granted,
    searched: &[SearchPath],
    found: impl Iterator<Item = Arc<Manifest>>,
) -> Result<()> {
    let written = granted.permissions.filesystem.iter().filter(|grant| grant.mode == FilesystemMode::Write);
    let written: Vec<&Path> = written.map(|grant| grant.path.as_path()).collect();
    if !granted.confined || written.is_empty() {
        return Ok(());
    }
    let searched: Vec<PathBuf> = searched.iter().map(|place| real(&absolute(&place.path))).collect();
    let named: Vec<(PathBuf, String)> = found.flat_map(|manifest| named(&manifest)).collect();
    written.into_iter().try_for_each(|granted| check_one(granted, &searched, &named))
}

/// The files and directories that a manifest names, each with a description.
fn named(manifest: &Manifest) -> Vec<(PathBuf, String)> {
    let parts = manifest.parts().map(|(key, path)| match key {
        "python_path" => (path, "the interpreter"),
        "source" => (path, "the source"),
        _ => (path, "the component"),
    });
    let files = std::iter::once((manifest.path.as_path(), "the manifest")).chain(parts);
    let files = files.filter(|(path, _)| !path.as_os_str().is_empty());
    files.map(|(path, what)| (real(&absolute(path)), format!("{what} of {:?}", manifest.name))).collect()
}

fn check_one(granted: &Path, searched: &[PathBuf], named: &[(PathBuf, String)]) -> Result<()> {
    let refused = |place: &Path, what: &str, help: &str| {
        let message = format!(
            "permissions.filesystem grants {} for writing, and {} ({what}) is in it: who can write it decides which code \
            runs",
            granted.display(),
            place.display()
        );
        Err(PluginError::denied(message).with_help(help))
    };
    let elsewhere =
        "grant it with `\"mode\": \"read\"`, or grant a directory that has no manifests and no code of plugins";
    if let Some((place, what)) = named.iter().find(|(path, _)| path.starts_with(granted)) {
        return refused(place, what, elsewhere);
    }
    if let Some(place) = searched.iter().find(|place| place.starts_with(granted)) {
        return refused(place, "a directory that is searched for manifests", elsewhere);
    }
    // Manifests in immediate subdirectories are read too.
    let own = granted.file_name().filter(|_| searched.iter().any(|place| granted.parent() == Some(place)));
    let Some(name) = own else { return Ok(()) };
    let manifest = granted.join(name).with_added_extension("json");
    let apart = "move the plugin's manifest into its own directory (NAME/NAME.json), and let the plugin write into a directory beside it";
    refused(&manifest, "a path where a manifest would be found", apart)
}

#[cfg(test)]
mod tests {
    use bivium_interface::HostPolicy;

    use super::*;

    fn manifest(dir: &Path, value: &serde_json::Value) -> Arc<Manifest> {
        let name = value["name"].as_str().unwrap();
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join(format!("{name}.json"));
        std::fs::write(&path, value.to_string()).unwrap();
        Arc::new(Manifest::read(&path).unwrap())
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
            super::check(&HostPolicy::default().grant(&own), &searched, [own.clone(), Arc::clone(&other)].into_iter())
        };
        for path in ["plugins", "plugins/one", "plugins/new", "", "real", "real/in", "none", "none/.bivium"] {
            let error = check(root.join(path), "write").unwrap_err();
            assert_eq!(error.code(), bivium_interface::ErrorCode::Denied);
            assert!(error.message().contains("decides which code runs"), "{error}");
            check(root.join(path), "read").unwrap();
        }
        let beside = check(root.join("plugins/new"), "write").unwrap_err();
        assert!(beside.message().contains("plugins/new/new.json"), "{beside}");
        assert!(beside.help().unwrap_or_default().contains("NAME/NAME.json"), "{beside}");
        for path in ["plugins/one/data", "real/in/data", "real/out", "out"] {
            check(root.join(path), "write").unwrap();
        }
    }

    #[test]
    fn a_trusted_plugin_is_not_asked() {
        let root = tempfile::tempdir().unwrap();
        let trusted =
            manifest(root.path(), &serde_json::json!({"name": "t", "version": "1", "module": "m", "class": "C"}));
        let searched = [SearchPath::named(root.path())];
        check(&HostPolicy::default().grant(&trusted), &searched, std::iter::once(Arc::clone(&trusted))).unwrap();
    }
}
