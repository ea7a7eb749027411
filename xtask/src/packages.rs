//! `cargo xtask packages`: makes the packages of the crates for crates.io, and builds them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, run};

/// Packages all crates that can be published, then checks them together, outside of the repository. Fails if a package lacks a file, for
/// example the WIT or a file of the Python worker.
///
/// `cargo package` itself would build each package with all its dependencies again.
pub(crate) fn check() -> Result<()> {
    let packages = crate::target().join("package");
    if packages.exists() {
        fs::remove_dir_all(&packages)?;
    }
    let options = ["--workspace", "--exclude", "bivium-tests", "--exclude", "xtask", "--no-verify", "--allow-dirty"];
    run(cargo(&["package"]).args(options))?;

    let unpacked = packages.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&packages)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "crate") {
            run(Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&unpacked))?;
            let name = path.file_stem().and_then(|name| name.to_str()).context("a package's name is not UTF-8")?;
            names.push(name.to_owned());
        }
    }
    ensure!(!names.is_empty(), "cargo made no package in {}", packages.display());

    let manifest = fs::read_to_string(crate::root().join("Cargo.toml"))?;
    fs::write(unpacked.join("Cargo.toml"), workspace(&names, &manifest)?)?;
    fs::copy(crate::root().join("Cargo.lock"), unpacked.join("Cargo.lock"))?;
    let target = crate::target().canonicalize()?;
    run(cargo(&["check", "--workspace", "--target-dir"]).arg(target).current_dir(&unpacked))?;
    let size = names.iter().map(|name| size_of(&packages.join(format!("{name}.crate")))).sum::<Result<u64>>()?;
    println!("{} packages, {} KiB together", names.len(), size / 1024);
    Ok(())
}

fn size_of(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// The Cargo.toml of a workspace of the unpacked packages, which depend on each other. It has the profiles of the repository's Cargo.toml.
fn workspace(names: &[String], manifest: &str) -> Result<String> {
    let mut text = "[workspace]\nresolver = \"3\"\nmembers = [\"bivium*\"]\n\n[patch.crates-io]\n".to_owned();
    for name in names {
        let (package, _) = name.rsplit_once('-').with_context(|| format!("{name} has no version"))?;
        text.push_str(&format!("{package} = {{ path = \"{name}\" }}\n"));
    }
    let profiles = manifest.find("[profile.dev]").context("Cargo.toml has no [profile.dev]")?;
    text.push('\n');
    text.push_str(manifest.get(profiles..).unwrap_or_default());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_depend_on_each_other_and_are_built_as_in_the_repository() {
        let manifest = "[workspace]\nmembers = []\n\n[profile.dev]\ndebug = false\n";
        let text = workspace(&["bivium-wasm-0.1.0".to_owned()], manifest).unwrap();
        assert!(text.contains("bivium-wasm = { path = \"bivium-wasm-0.1.0\" }\n"), "{text}");
        assert!(text.ends_with("\n[profile.dev]\ndebug = false\n") && !text.contains("members = []"), "{text}");
        assert!(workspace(&["bivium".to_owned()], manifest).is_err(), "without a version");
        assert!(workspace(&[], "").is_err());
    }
}
