//! The error of a host that was built without the feature `cjm` for manifests of cjm-plugin-system.

use std::sync::Arc;

use bivium_interface::Manifest;
use bivium_interface::manifest::{Extension, ManifestExtension, Node, Problems};
use schemars::SchemaGenerator;
use serde::de::Error as _;
use serde_json::{Map, Value};

/// The key that plugins of cjm-plugin-system have in a manifest of our form.
const KEY: &str = "ancestor";

/// Keys that only manifests and adapters of cjm-plugin-system have.
const KEYS: &[&str] = &["format_version", KEY, "unit", "conda_env", "db_path", "interface", "taxonomy", "worker_env"];

pub(super) struct Absent;

impl ManifestExtension for Absent {
    fn key(&self) -> &'static str {
        KEY
    }

    fn properties(&self, _: &mut SchemaGenerator) -> Map<String, Value> {
        Map::new()
    }

    fn other_keys(&self) -> &'static [&'static str] {
        KEYS
    }

    fn lift(&self, root: &mut Node, problems: &mut Problems) -> bool {
        let Some(found) = KEYS.iter().find_map(|key| root.get(key)) else { return true };
        let message = format!(
            "{} is a key of cjm-plugin-system, and this host was built without what its plugins need: build it with the \
             feature `cjm` of the crate `bivium`",
            found.key
        );
        problems.add(found.line, message);
        false
    }

    fn read(&self, _: Value, _: &mut Manifest) -> serde_json::Result<Arc<dyn Extension>> {
        Err(serde_json::Error::custom("the feature `cjm` of the crate `bivium` is missing"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bivium_interface::manifest::ManifestFile;

    #[test]
    fn a_manifest_of_theirs_is_told_which_feature_is_missing() {
        let own = r#"{"name": "a", "version": "1", "module": "a", "class": "A""#;
        for (text, key) in [
            (r#"{"format_version": "2.0", "code": {}}"#.to_owned(), "format_version"),
            (format!("{own}, \"ancestor\": {{}}}}"), "ancestor"),
            (format!("{own}, \"conda_env\": \"w\"}}"), "conda_env"),
            (r#"{"unit": "adapter", "name": "a.A"}"#.to_owned(), "unit"),
        ] {
            let error = ManifestFile::parse(&text, Path::new("/m/a.json"), crate::forms()).unwrap_err();
            let [problem] = error.problems() else { panic!("{error}") };
            assert!(problem.message.starts_with(&format!("{key} is a key of")), "{problem}");
            assert!(problem.message.contains("the feature `cjm` of the crate `bivium`"), "{problem}");
        }
        assert!(ManifestFile::parse(&format!("{own}}}"), Path::new("/m/a.json"), crate::forms()).is_ok());
    }
}
