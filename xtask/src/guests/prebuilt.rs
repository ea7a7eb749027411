//! The committed copies and `digests.json`, which has for each copy a digest of its sources and a digest of the file.
//!
//! The digest of the sources covers the files that an author edits: the guest, the SDK, the world, the guests' workspace and its lock
//! file. The repository's own `Cargo.toml` is left out, because it changes often; what the SDK inherits from it is visible in the
//! lock file.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Workspace;

/// Sources of every guest, relative to the repository's root.
const SHARED: &[&str] = &["wit", "crates/bivium-guest/Cargo.toml", "crates/bivium-guest/src"];
/// Sources in a workspace of guests.
const OF_WORKSPACE: &[&str] = &["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];
/// Sources of one guest.
const OF_GUEST: &[&str] = &["Cargo.toml", "build.rs", "src", "wit"];

const SOURCES: &str = "sources_sha256";
const WASM: &str = "wasm_sha256";

/// The committed copy of a guest. Prints a warning if its sources have changed since it was built.
pub(super) fn read(workspace: &Workspace, name: &str) -> Result<Vec<u8>> {
    let path = copy(workspace, name);
    let component = fs::read(&path).with_context(|| format!("there is no prebuilt copy {}", path.display()))?;
    if recorded(workspace, name, WASM)? != hex(&Sha256::digest(&component)) {
        bail!(
            "{} does not have the digest in digests.json; restore it or run `cargo xtask guests --update-prebuilt`",
            path.display()
        );
    }
    if is_stale(workspace, name)? {
        eprintln!(
            "guests: the prebuilt copy of {name} is older than its sources, so changes of the sources have no effect"
        );
    }
    Ok(component)
}

/// Whether the sources have changed since the committed copy was built.
pub(super) fn is_stale(workspace: &Workspace, name: &str) -> Result<bool> {
    Ok(recorded(workspace, name, SOURCES)? != digest_of_sources(workspace, name)?)
}

/// Fails if there are copies of guests that no longer exist.
#[cfg(test)]
pub(super) fn only_known(workspace: &Workspace) -> Result<()> {
    for entry in fs::read_dir(workspace.dir.join("prebuilt"))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if stem != "digests" && !workspace.guests.contains(&stem) {
            bail!("{} belongs to no guest", path.display());
        }
    }
    Ok(())
}

/// Stores the components that the manifests use as the committed copies.
pub(super) fn update(workspace: &Workspace) -> Result<()> {
    let mut records = Map::new();
    for name in &workspace.guests {
        let component = fs::read(workspace.place(name))?;
        super::write(&copy(workspace, name), &component)?;
        let sources = digest_of_sources(workspace, name)?;
        records.insert(name.clone(), json!({SOURCES: sources, WASM: hex(&Sha256::digest(&component))}));
    }
    let text = format!("{:#}\n", Value::Object(records));
    super::write(&workspace.dir.join("prebuilt/digests.json"), text.as_bytes())
}

fn copy(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.dir.join("prebuilt").join(format!("{name}.wasm"))
}

fn recorded(workspace: &Workspace, name: &str, key: &str) -> Result<String> {
    let path = workspace.dir.join("prebuilt/digests.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let records: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let digest = records.get(name).and_then(|record| record.get(key)).and_then(Value::as_str);
    digest.map(str::to_owned).with_context(|| format!("{} has no {key} of {name}", path.display()))
}

fn digest_of_sources(workspace: &Workspace, name: &str) -> Result<String> {
    let root = crate::root();
    let mut files = Vec::new();
    for (dir, parts) in [(root, SHARED), (&workspace.dir, OF_WORKSPACE), (&workspace.dir.join(name), OF_GUEST)] {
        for part in parts {
            list(&dir.join(part), &mut files)?;
        }
    }
    // Names with `/`, sorted, so that the digest is the same on every system.
    let mut named = Vec::new();
    for file in files {
        let parts: Vec<_> = file.strip_prefix(root)?.iter().map(|part| part.to_string_lossy()).collect();
        named.push((parts.join("/"), file));
    }
    named.sort();
    let mut digest = Sha256::new();
    for (name, file) in named {
        // Git may have converted the line ends to those of the system.
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = text.replace("\r\n", "\n");
        digest.update(format!("{name}\n{}\n{text}", text.len()));
    }
    Ok(hex(&digest.finalize()))
}

fn list(path: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            list(&entry?.path(), into)?;
        }
    } else if path.exists() {
        // A guest does not need every one of these.
        into.push(path.to_owned());
    }
    Ok(())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
