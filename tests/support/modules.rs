//! Checks that the modules of a crate are in layers: each imports only modules below it.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The modules that a source names with `crate::`, without its tests.
fn imports(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let named = |after: &str| match after.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap_or_default().split(',').map(|one| name(one.trim())).collect(),
        None => vec![name(after)],
    };
    code.split("crate::").skip(1).flat_map(named).filter(|name| name.starts_with(char::is_lowercase)).collect()
}

/// The imports that break the order. `layers` has the modules from the lowest layer; those of one layer do not import each other.
pub(super) fn wrong_imports(src: &Path, layers: &[&[&str]]) -> Vec<String> {
    let layer = |module: &str| {
        let found = layers.iter().position(|layer| layer.contains(&module));
        found.unwrap_or_else(|| panic!("`{module}` has no layer"))
    };
    let mut wrong = Vec::new();
    for path in sources(src).iter().filter(|path| !path.ends_with("tests.rs")) {
        let below = path.strip_prefix(src).unwrap();
        let module = below.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        for import in imports(&fs::read_to_string(path).unwrap()) {
            if import != module && layer(&import) >= layer(module) {
                wrong.push(format!("{} imports `{import}`", below.display()));
            }
        }
    }
    wrong
}

#[test]
fn imports_are_found() {
    let source =
        "use crate::{a, b::C};\nuse crate::d::E; // crate::f\ncrate::g::h()\n#[cfg(test)]\nmod tests { crate::i }";
    assert_eq!(imports(source), ["a", "b", "d", "g"]);
}
