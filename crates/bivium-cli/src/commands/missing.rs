//! What a manifest names and is not there, or is something else. Nothing is run or compiled.

use std::path::Path;

use bivium::Manifest;
use bivium::manifest::Runtime;

/// The files without which the plugin cannot start, each as a clause; directories that it is granted and are not there; then a file
/// that is no component.
pub(super) fn missing(manifest: &Manifest) -> Vec<String> {
    let named = [
        ("component", manifest.component.as_deref()),
        ("python_path", manifest.python_path.as_deref()),
        ("source", manifest.source.as_deref()),
    ];
    let granted = manifest.permissions.iter().flat_map(|permissions| &permissions.filesystem);
    let granted = granted.map(|directory| ("permissions.filesystem", Some(directory.path.as_path())));
    let mut missing: Vec<String> = named
        .into_iter()
        .chain(granted)
        .filter_map(|(key, path)| Some((key, path.filter(|path| !path.exists())?)))
        .map(|(key, path)| format!("{key}: {} is not there", path.display()))
        .collect();
    if let Some(component) = manifest.component.as_deref().filter(|path| path.exists())
        && let Err(error) = bivium::check_component(component)
    {
        missing.push(format!("component: {error}"));
    }
    let has_own_python = manifest.python_path.is_some() || manifest.requirements.is_some();
    if manifest.runtime == Runtime::Python && !has_own_python {
        if !is_on_path("python3") {
            missing.push("there is no python3 on PATH to run it with".to_owned());
        }
        // Else the module may be installed in its environment.
        if let (Some(source), Some(object)) =
            (manifest.source.as_deref().filter(|source| source.is_dir()), manifest.python_object())
            && !has_module(source, object.module)
        {
            let key = if manifest.function.is_some() { "function" } else { "module" };
            missing.push(format!("{key}: there is no {} in {}", object.module, source.display()));
        }
    }
    missing
}

/// Whether Python could find the module there: as a file, a package, or compiled.
fn has_module(source: &Path, module: &str) -> bool {
    let first = module.split('.').next().unwrap_or(module);
    let names = std::fs::read_dir(source).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .any(|name| name.strip_prefix(first).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
