//! Finds files and directories that a manifest names and that do not exist or are of another kind. Runs and compiles nothing.

use std::path::{Component, Path, PathBuf};

use bivium::{Manifest, Outline};
use bivium_interface::nearest_file;

/// How many parent directories of the manifest's directory are searched for a missing file.
const MOST_ABOVE: usize = 2;

/// What is missing, each as a clause: files without which the plugin cannot start; directories that it is granted and that do not
/// exist; a file that is not a component; a platform that there is not; and, by the outline of a Python plugin, a module, class or function.
pub(super) fn missing(manifest: &Manifest, outline: Option<&Outline>) -> Vec<String> {
    let granted = manifest.permissions.iter().flat_map(|permissions| &permissions.filesystem);
    let granted = granted.map(|directory| ("permissions.filesystem", directory.path.as_path()));
    let mut missing: Vec<String> = manifest
        .parts()
        .chain(granted)
        .filter_map(|(key, path)| Some(format!("{key}: {}", problem(manifest, key, path)?)))
        .collect();
    if let Some(component) = manifest.wasm().and_then(|wasm| wasm.component.file()).filter(|path| path.exists())
        && let Err(error) = bivium::check_component(component)
    {
        missing.push(format!("component: {error}"));
    }
    if let Some(python) = manifest.python() {
        let has_own_python = python.python_path.is_some() || python.requirements.is_some();
        if !has_own_python && !is_on_path("python3") {
            missing.push("there is no python3 on PATH to run it with".to_owned());
        }
    }
    let unknown = manifest.resources.unknown_platforms();
    missing.extend(unknown.map(|name| {
        format!("resources.platforms: {name:?} is no platform: write linux, darwin or win, alone or as in linux-x64, darwin-arm64")
    }));
    missing.extend(outline.and_then(|outline| outline.absent.clone()));
    missing
}

/// What is wrong with a path, if anything.
fn problem(manifest: &Manifest, key: &str, path: &Path) -> Option<String> {
    let shown = path.display();
    if !path.exists() {
        return Some(format!("{shown} does not exist{}", meant(manifest, key, path)));
    }
    match key {
        "python_path" if path.is_dir() => {
            let python = path.join("bin/python");
            let cure =
                if python.exists() { format!("write {}", python.display()) } else { "name the interpreter".into() };
            Some(format!("{shown} is a directory, not a program: {cure}"))
        }
        // Python imports modules from archives as well.
        "source" if path.extension().is_some_and(|ending| ["zip", "whl", "egg"].iter().any(|one| ending == *one)) => {
            None
        }
        "source" if !path.is_dir() => Some(format!("{shown} is a file: name its directory")),
        "permissions.filesystem" if !path.is_dir() => {
            Some(format!("{shown} is a file, but only directories can be granted: name its directory"))
        }
        _ => None,
    }
}

/// What was probably meant by a path that does not exist: a similar name, or the same relative path from a parent directory.
fn meant(manifest: &Manifest, key: &str, path: &Path) -> String {
    if let Some(meant) = nearest_file(path, matches!(key, "source" | "permissions.filesystem")) {
        return format!("; did you mean `{meant}`?");
    }
    let home = manifest.path.parent();
    let Some((home, relative)) = home.and_then(|home| Some((home, path.strip_prefix(home).ok()?))) else {
        return String::new();
    };
    let above = home.ancestors().skip(1).take(MOST_ABOVE).map(Path::to_owned);
    let others = std::env::current_dir().into_iter().chain(above).map(|other| other.join(relative));
    others.into_iter().find(|other| other.exists()).map_or_else(String::new, |there| {
        let (written, there) = (from(home, &there), there.display());
        format!("; relative paths start at the manifest's directory: write `{}` for {there}", written.display())
    })
}

/// The relative path from the directory `home` to `there`.
fn from(home: &Path, there: &Path) -> PathBuf {
    let common = home.components().zip(there.components()).take_while(|(one, other)| one == other).count();
    let up = home.components().skip(common).map(|_| Component::ParentDir);
    up.chain(there.components().skip(common)).collect()
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_from_a_directory_goes_up_and_down() {
        for (there, path) in [("/a/b/c", "c"), ("/a/c", "../c"), ("/c/d", "../../c/d"), ("/a", "..")] {
            assert_eq!(from(Path::new("/a/b"), Path::new(there)), Path::new(path));
        }
    }
}
