//! Files that lie among manifests and evidently are none: nobody wants to be warned of them each time.

use std::path::Path;

use bivium_interface::manifest::LONGEST;
use bivium_interface::{ErrorCode, Manifest, PluginError, read_text};
use serde_json::Value;

/// What editors and other systems leave beside files (`._redact.json`), and what is hidden on purpose.
pub(super) const HIDDEN: &str = "a hidden file";

/// What has steps.
pub(super) const PIPELINE: &str = "a pipeline";

/// Files of other programs whose keys look like a manifest's.
const OTHERS: [&str; 8] = [
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "jsconfig.json",
    "composer.json",
    "deno.json",
    "jsr.json",
    "pyrightconfig.json",
];

pub(super) fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// What a file is that cannot be read as a manifest, if it is evidently something else. One that is no JSON may be a manifest
/// that somebody is writing, and so may one that has any of a manifest's keys.
pub(super) fn kind(file: &Path, error: &PluginError) -> Option<&'static str> {
    if error.code() != ErrorCode::InvalidManifest || !file.is_file() {
        return None;
    }
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if OTHERS.contains(&name) {
        return Some("a file of another program");
    }
    let text = read_text(file, u64::try_from(LONGEST).unwrap_or(u64::MAX)).ok()?;
    match serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text)).ok()? {
        Value::Object(object) if object.contains_key("steps") => Some(PIPELINE),
        Value::Object(object) => {
            (!object.keys().any(|key| Manifest::has_key(key))).then_some("no key of it is a manifest's")
        }
        _ => Some("no JSON object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_evidently_no_manifest_is_told_from_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let kind = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            super::kind(&path, &Manifest::read(&path).unwrap_err())
        };
        assert_eq!(
            kind("package.json", r#"{"name": "x", "version": "1", "scripts": {}}"#),
            Some("a file of another program")
        );
        assert_eq!(kind("captions.json", r#"{"name": "captions", "steps": []}"#), Some("a pipeline"));
        assert_eq!(kind("settings.json", r#"{"colour": 1}"#), Some("no key of it is a manifest's"));
        assert_eq!(kind("list.json", "[1]"), Some("no JSON object"));
        for broken in [r#"{"name": "x", "verison": "1", "compnent": "x.wasm"}"#, r#"{"component": 7}"#, "{"] {
            assert_eq!(kind("redact.json", broken), None, "{broken}");
        }
        assert!(is_hidden(&dir.path().join("._redact.json")) && !is_hidden(&dir.path().join("redact.json")));
    }
}
