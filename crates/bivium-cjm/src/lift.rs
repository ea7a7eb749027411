//! Turns their two forms of manifests into ours, before anything is checked, so that there is one form to check.
//!
//! - The nested form (`"format_version": "2.0"`): what is in `install` and `code` moves to the top.
//! - The flat form has no mark. Its keys are ours, and others that move below the key of [`CjmManifest`].
//!
//! Every value keeps its line. Their tools write `""` and `null` for what is absent, and a resource that they no
//! longer read; in such a file these are left out.

use std::sync::LazyLock;

use bivium_interface::manifest::{Entry, Kind, Node, Problems, quoted, schema};

use crate::manifest::{CjmManifest, KEY};

/// The one nested form that there is.
const NESTED: &str = "2.0";

/// A key of `resources` that their own host ignores.
const DEAD_RESOURCE: &str = "recommended_gpu_vram_mb";

/// The keys at the top of other files than manifests of our form.
pub(crate) const OTHER_KEYS: &[&str] = &["format_version", "unit", "install", "code"];

/// The keys that their tools write beside ours.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    static KEYS: LazyLock<Vec<String>> =
        LazyLock::new(|| schema::properties(&schema::of::<CjmManifest>()).map(|(key, _)| key.clone()).collect());
    KEYS.iter().map(String::as_str)
}

/// Turns a file's root into our form. False if it has a form that is unknown.
pub(crate) fn lift(root: &mut Node, problems: &mut Problems) -> bool {
    let nested = match root.remove("format_version") {
        None => false,
        Some(version) if matches!(version.value.kind, Kind::Null) => false,
        Some(version) if version.value.as_str() == Some(NESTED) => true,
        Some(version) => {
            let known = "must be \"2.0\", the nested form of cjm-plugin-system; every other manifest does without it";
            let found = version.value.as_str().map(|text| format!(", not {}", quoted(text))).unwrap_or_default();
            problems.add(version.value.line, format!("format_version {known}{found}"));
            return false;
        }
    };
    if nested {
        for section in ["install", "code", "drift_tracking"] {
            hoist(root, section, problems);
        }
    }
    let Kind::Object(entries) = &mut root.kind else { return true };
    let (moved, kept): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|entry| keys().any(|key| key == entry.key));
    *entries = kept;
    if !nested && moved.is_empty() {
        return true;
    }
    entries.retain(is_there);
    if let Some(Kind::Object(resources)) = kind_of(entries, "resources") {
        resources.retain(|entry| is_there(entry) && entry.key != DEAD_RESOURCE);
    }
    let moved = moved.into_iter().filter(is_there).collect();
    match kind_of(entries, KEY) {
        Some(Kind::Object(own)) => Entry::merge(own, moved, problems),
        // Of the wrong type, which the check against the schema says.
        Some(_) => {}
        None => root.set(KEY, Kind::Object(moved)),
    }
    true
}

/// Moves what is in a section to the top.
fn hoist(root: &mut Node, section: &str, problems: &mut Problems) {
    let (Some(entry), Kind::Object(entries)) = (root.remove(section), &mut root.kind) else { return };
    match entry.value.kind {
        Kind::Object(inner) => Entry::merge(entries, inner, problems),
        Kind::Null | Kind::Broken => {}
        _ => problems.add(entry.value.line, format!("{section} must be an object")),
    }
}

fn kind_of<'n>(entries: &'n mut [Entry], key: &str) -> Option<&'n mut Kind> {
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value.kind)
}

fn is_there(entry: &Entry) -> bool {
    !matches!(entry.value.kind, Kind::Null) && entry.value.as_str() != Some("")
}
