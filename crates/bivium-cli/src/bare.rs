//! The manifest of a file that has none: a component, or a class in a Python file.

use std::path::Path;

use bivium::{Manifest, PluginError, Result};
use serde_json::json;

/// The longest name that a manifest may have.
const LONGEST_NAME: usize = 64;

/// A component: it is named as its file is (`redact.wasm`, which no plugin with a manifest is by chance), gets no permissions, and
/// has the limits of a manifest that sets none.
pub(crate) fn component(file: &Path) -> Result<Manifest> {
    let mut manifest = bare(file, &json!({"component": "x.wasm"}))?;
    manifest.component = Some(manifest.path.clone());
    Ok(manifest)
}

/// A class in a Python file: it is named as the file is, runs with `python3` as `python3 FILE` would, and is trusted.
pub(crate) fn class(file: &Path, class: &str) -> Result<Manifest> {
    let module = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if module.is_empty() || !module.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!("Python cannot import a module from {}", file.display());
        return Err(PluginError::invalid_input(message).with_help("name the file in letters, digits and `_`"));
    }
    let mut manifest = bare(file, &json!({"module": module, "class": class}))?;
    manifest.source = manifest.path.parent().map(Path::to_owned);
    Ok(manifest)
}

/// A manifest with these keys, whose file is the plugin's own.
fn bare(file: &Path, keys: &serde_json::Value) -> Result<Manifest> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    // All of it is ASCII; the end says what kind of file it is.
    let name = name.get(name.len().saturating_sub(LONGEST_NAME)..).unwrap_or(name);
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let mut whole = json!({"name": name, "version": "0"});
    if let (Some(whole), Some(keys)) = (whole.as_object_mut(), keys.as_object()) {
        whole.extend(keys.clone());
    }
    Manifest::parse(&whole.to_string(), file).map_err(|error| {
        let why = error.problems().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ");
        PluginError::invalid_input(format!("{} cannot be run without a manifest: {why}", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_manifest_is_named_as_it_is_and_gets_nothing() {
        let component = super::component(Path::new("/x/my redact.wasm")).unwrap();
        assert_eq!((component.name.as_str(), &component.permissions), ("my-redact.wasm", &None));
        assert_eq!(component.component.as_deref(), Some(Path::new("/x/my redact.wasm")));
        let class = super::class(Path::new("/x/words.py"), "Words").unwrap();
        assert_eq!((class.module.as_deref(), class.class.as_deref()), (Some("words"), Some("Words")));
        assert_eq!((class.name.as_str(), class.source.as_deref()), ("words.py", Some(Path::new("/x"))));
        let long = super::component(Path::new(&format!("/{}.wasm", "aé".repeat(80)))).unwrap();
        assert!(long.name.len() <= LONGEST_NAME && long.name.ends_with(".wasm"), "{}", long.name);
    }

    #[test]
    fn a_file_that_cannot_be_named_or_imported_is_refused() {
        for (file, name) in [("my-words.py", "Words"), ("words.py", "not a class"), ("/", "X")] {
            let error = class(Path::new(file), name).unwrap_err();
            assert_eq!(error.code(), bivium::ErrorCode::InvalidInput, "{error}");
        }
        assert!(component(Path::new("/")).is_err());
    }
}
