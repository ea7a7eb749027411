//! Files that lie among manifests and evidently are none: nobody wants to be warned of them each time.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use bivium_interface::manifest::LONGEST;
use bivium_interface::{ErrorCode, HostPolicy, PluginError, read_text};
use serde::de::IgnoredAny;

use crate::extensions::forms;

/// What editors and other systems leave beside files (`._redact.json`), and what is hidden on purpose.
pub(super) const HIDDEN: FileKind = FileKind::Other("a hidden file");

/// What a JSON file is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A manifest, or a file of which nothing is known: it may become one.
    Manifest,
    /// A pipeline: it has `steps`.
    Pipeline,
    /// A host's policy.
    Policy,
    /// A manifest in a subdirectory that is not named as its directory is: nothing looks for it there.
    Misnamed,
    /// Something else, in words.
    Other(&'static str),
}

impl FileKind {
    /// Looks into the file. One that is no JSON may be a manifest that somebody is writing, and so may one that has any of a
    /// manifest's keys. Blocks on the file system.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if OTHERS.contains(&name) {
            return Self::Other("a file of another program");
        }
        let object = object(file);
        let keys: Vec<&str> = match &object {
            Some(Ok(object)) => object.keys().map(String::as_str).collect(),
            Some(Err(error)) if error.is_data() => return Self::Other("no JSON object"),
            _ => return Self::Manifest,
        };
        match keys.as_slice() {
            keys if keys.contains(&"steps") => Self::Pipeline,
            keys if HostPolicy::is_meant(keys.iter().copied()) => Self::Policy,
            keys if keys.iter().any(|key| forms().has_key(key)) => Self::Manifest,
            _ => Self::Other("no key of it is a manifest's"),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "a manifest",
            Self::Pipeline => "a pipeline",
            Self::Policy => "a host policy",
            Self::Misnamed => {
                "a manifest that is not looked for: in a subdirectory the only one is named as the directory, NAME/NAME.json"
            }
            Self::Other(what) => what,
        })
    }
}

/// What a file has under its keys, of which the keys alone are of interest: what is wrong with a value says whoever the file is for.
fn object(file: &Path) -> Option<serde_json::Result<BTreeMap<String, IgnoredAny>>> {
    // A pipe is read once.
    let text = if file.is_file() { read_text(file, u64::try_from(LONGEST).unwrap_or(u64::MAX)).ok() } else { None };
    text.map(|text| serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text)))
}

/// Whether a file is surely meant to declare a plugin: it says what to run.
pub(super) fn declares(file: &Path) -> bool {
    let is_others = file.file_name().and_then(|name| name.to_str()).is_some_and(|name| OTHERS.contains(&name));
    let has_what_to_run = |object: BTreeMap<String, IgnoredAny>| {
        object.contains_key("name") && ["component", "module", "function"].iter().any(|key| object.contains_key(*key))
    };
    !is_others && !is_hidden(file) && object(file).and_then(Result::ok).is_some_and(has_what_to_run)
}

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

/// What a file is that cannot be read as a manifest, if it is evidently something else.
pub(super) fn kind(file: &Path, error: &PluginError) -> Option<FileKind> {
    // What a stranger could have written is not looked into.
    let is_read = error.code() == ErrorCode::InvalidManifest && file.is_file();
    is_read.then(|| FileKind::of(file)).filter(|kind| *kind != FileKind::Manifest)
}

#[cfg(test)]
mod tests {
    use bivium_interface::Manifest;

    use super::*;

    #[test]
    fn what_is_evidently_no_manifest_is_told_from_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let kind = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            super::kind(&path, &Manifest::read(&path).unwrap_err()).map(|kind| kind.to_string())
        };
        assert_eq!(
            kind("package.json", r#"{"name": "x", "version": "1", "scripts": {}}"#),
            Some("a file of another program".to_owned())
        );
        assert_eq!(kind("captions.json", r#"{"name": "captions", "steps": []}"#), Some("a pipeline".to_owned()));
        assert_eq!(
            kind("policy.json", r#"{"permissions": {"network": 7}, "confine": true}"#),
            Some("a host policy".to_owned())
        );
        // Whatever is wrong with a value.
        let deep = format!(r#"{{"steps": {}{}}}"#, "[".repeat(500), "]".repeat(500));
        for pipeline in [r#"{"name": "p", "steps": [1e999]}"#, &deep] {
            assert_eq!(kind("captions.json", pipeline), Some("a pipeline".to_owned()));
        }
        let policy = kind("policy.json", r#"{"confine": true, "limits": {"memory_mb": 1e999}}"#);
        assert_eq!(policy, Some("a host policy".to_owned()));
        assert_eq!(kind("settings.json", r#"{"colour": 1}"#), Some("no key of it is a manifest's".to_owned()));
        assert_eq!(kind("list.json", "[1]"), Some("no JSON object".to_owned()));
        for broken in
            [r#"{"name": "x", "verison": "1", "compnent": "x.wasm"}"#, r#"{"component": 7, "limits": {}}"#, "{"]
        {
            assert_eq!(kind("redact.json", broken), None, "{broken}");
        }
        assert!(is_hidden(&dir.path().join("._redact.json")) && !is_hidden(&dir.path().join("redact.json")));
    }
}
