//! The committed copies and `digests.json`, which says of each what it was built from and what it is.
//!
//! The digest of the sources covers what an author edits: the guest, the SDK, the world, the guests' workspace and its
//! lock file. It leaves out the repository's own `Cargo.toml`, which changes daily: what the SDK inherits from it comes
//! to light in the lock file.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Workspace;

/// From the repository's root: what every guest is made of.
const SHARED: &[&str] = &["wit", "crates/bivium-guest/Cargo.toml", "crates/bivium-guest/src"];
/// From a workspace of guests.
const OF_WORKSPACE: &[&str] = &["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];
/// From a guest.
const OF_GUEST: &[&str] = &["Cargo.toml", "build.rs", "src", "wit"];

const SOURCES: &str = "sources_sha256";
const WASM: &str = "wasm_sha256";

/// The committed copy of a guest; a word on standard error if its sources have changed since.
pub(super) fn read(workspace: &Workspace, name: &str) -> Result<Vec<u8>> {
    let path = copy(workspace, name);
    let component = fs::read(&path).with_context(|| format!("there is no prebuilt copy {}", path.display()))?;
    if recorded(workspace, name, WASM)? != hex(&Sha256::digest(&component)) {
        bail!(
            "{} is not what digests.json says; restore it or run `cargo xtask guests --update-prebuilt`",
            path.display()
        );
    }
    if is_stale(workspace, name)? {
        eprintln!("guests: the prebuilt copy of {name} is older than its sources: changes there have no effect");
    }
    Ok(component)
}

/// Whether the sources have changed since the committed copy was built.
pub(super) fn is_stale(workspace: &Workspace, name: &str) -> Result<bool> {
    Ok(recorded(workspace, name, SOURCES)? != digest_of_sources(workspace, name)?)
}

/// Refuses copies of guests that are no more.
#[cfg(test)]
pub(super) fn only_known(workspace: &Workspace) -> Result<()> {
    for entry in fs::read_dir(workspace.dir.join("prebuilt"))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if stem != "digests" && !workspace.guests.contains(&stem) {
            bail!("{} is of no guest", path.display());
        }
    }
    Ok(())
}

/// Makes what stands in the manifests' place the committed copies.
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
    // Names as they are on every system, in an order that is the same on every system.
    let mut named = Vec::new();
    for file in files {
        let parts: Vec<_> = file.strip_prefix(root)?.iter().map(|part| part.to_string_lossy()).collect();
        named.push((parts.join("/"), file));
    }
    named.sort();
    let mut digest = Sha256::new();
    for (name, file) in named {
        // Git may have written the line ends of the system.
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
        // A guest need not have each part.
        into.push(path.to_owned());
    }
    Ok(())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
