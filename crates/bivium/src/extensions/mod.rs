//! The one place that knows which extensions this host was built with: which manifests it reads beside its own form, and what the
//! workers of such plugins get.

#[cfg(not(feature = "cjm"))]
mod absent;
#[cfg(feature = "cjm")]
mod workers;

use std::sync::LazyLock;

use bivium_interface::manifest::Forms;

#[cfg(feature = "cjm")]
pub(crate) use workers::of_worker;

/// The forms of file that this host reads as manifests: its own, and with the feature `cjm` those of cjm-plugin-system.
#[must_use]
pub fn forms() -> &'static Forms {
    static FORMS: LazyLock<Forms> = LazyLock::new(|| {
        #[cfg(feature = "cjm")]
        let cjm = bivium_cjm::CjmForms;
        #[cfg(not(feature = "cjm"))]
        let cjm = absent::Absent;
        Forms::with(vec![Box::new(cjm)])
    });
    &FORMS
}

#[cfg(all(test, feature = "cjm"))]
mod tests {
    use std::path::{Path, PathBuf};

    use bivium_interface::manifest::{ManifestFile, schema};

    use super::*;

    fn docs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
    }

    /// `UPDATE_DOCS=1 cargo test -p bivium` writes the file anew.
    #[test]
    fn the_published_schema_is_up_to_date() {
        let path = docs().join("manifest.schema.json");
        let made = serde_json::to_string_pretty(forms().schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap();
        assert!(published == made, "docs/manifest.schema.json is stale: UPDATE_DOCS=1 cargo test -p bivium");
    }

    #[test]
    fn every_key_is_documented_and_the_documented_examples_are_valid() {
        let text = std::fs::read_to_string(docs().join("manifest.md")).unwrap();
        for (key, _) in schema::properties(forms().schema()) {
            assert!(text.contains(&format!("`{key}`")), "docs/manifest.md does not tell of {key}");
        }
        let examples: Vec<_> = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(examples.len() >= 2);
        for example in examples {
            let path = Path::new("/plugins/example.json");
            ManifestFile::parse(example, path, forms()).unwrap().into_plugin(path).unwrap();
        }
    }
}
