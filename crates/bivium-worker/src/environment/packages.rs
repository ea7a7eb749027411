//! What is installed in an environment, by its files: no interpreter is asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bivium_interface::read_text;

/// Entries of one directory that are looked at.
const MOST_ENTRIES: usize = 10_000;
/// The longest list of a package's files that is read.
const LONGEST: u64 = 4 << 20;
/// How the directories end that say what is installed.
const METADATA: &str = ".dist-info";

/// Where the packages of an environment lie.
pub(crate) fn site_packages(environment: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64"].map(|lib| environment.join(lib)) {
        let versions = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_python = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3"))
        };
        let mut versions: Vec<PathBuf> = versions.filter(is_python).collect();
        versions.sort();
        let packages = versions.iter().flat_map(|path| ["site-packages", "dist-packages"].map(|name| path.join(name)));
        found.extend(packages.filter(|path| path.is_dir()));
    }
    found
}

/// The environment in which an interpreter lies.
pub(crate) fn environment_of(python: &Path) -> Option<&Path> {
    python.parent()?.parent()
}

/// The modules of the installed package that is called so, as its own files list them; none if there is no such package.
/// The name of a package on PyPI is often another than that of its modules.
pub(crate) fn modules_of(package: &str, places: &[PathBuf]) -> Vec<String> {
    let wanted = normal(package);
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(METADATA));
        name.and_then(|name| name.split('-').next()).is_some_and(|name| normal(name) == wanted)
    };
    let entries =
        places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten().take(MOST_ENTRIES));
    let Some(metadata) = entries.map(|entry| entry.path()).find(is_it) else { return Vec::new() };
    let read = |name: &str| read_text(&metadata.join(name), LONGEST).ok();
    let listed = read("top_level.txt").map(|text| text.lines().map(|line| line.trim().to_owned()).collect());
    let names: BTreeSet<String> = listed.unwrap_or_else(|| {
        let files = read("RECORD").unwrap_or_default();
        files.lines().filter_map(module_of).map(str::to_owned).collect()
    });
    names.into_iter().filter(|name| is_module(name) && !name.starts_with('_')).collect()
}

/// The module that a line of `RECORD` (`FILE,DIGEST,SIZE`) tells of.
fn module_of(line: &str) -> Option<&str> {
    let file = line.split(',').next()?;
    match file.split_once('/') {
        Some((package, rest)) => rest.ends_with("__init__.py").then_some(package),
        None => file.strip_suffix(".py"),
    }
}

fn is_module(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// A package's name as it is compared (PEP 503).
fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_of_a_package_are_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("lib/python3.12/site-packages");
        let write = |file: &str, text: &str| {
            let path = site.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("PyYAML-6.0.2.dist-info/top_level.txt", "_yaml\nyaml\n");
        let record = "../../../bin/x,,\nsklearn/__init__.py,sha256=a,1\nsklearn/svm/__init__.py,,\nscikit_learn.libs/x.so,,\n\
                      scikit_learn-1.5.0.dist-info/RECORD,,\n";
        write("scikit_learn-1.5.0.dist-info/RECORD", record);
        write("six-1.16.0.dist-info/RECORD", "six.py,,\n__pycache__/six.cpython-312.pyc,,\n");
        let found = site_packages(dir.path());
        assert_eq!(found, std::slice::from_ref(&site));
        for (package, modules) in [
            ("pyyaml", "yaml"),
            ("scikit_learn", "sklearn"),
            ("Scikit-Learn", "sklearn"),
            ("six", "six"),
            ("numpy", ""),
        ] {
            assert_eq!(modules_of(package, &found).join(" "), modules, "{package}");
        }
        assert_eq!(environment_of(Path::new("/env/bin/python")), Some(Path::new("/env")));
    }
}
