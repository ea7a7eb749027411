//! Texts that may be manifests.

use std::path::Path;

use bivium_interface::manifest::ManifestFile;

/// Parses `data`. What is valid must stay what it is when it is written and parsed again; what is not must say so in a
/// bounded number of words.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/plugins/p.json");
    match ManifestFile::parse(text, path) {
        Ok(ManifestFile::Plugin(manifest)) => {
            let written = serde_json::to_string(&*manifest).expect("a manifest can be written");
            match ManifestFile::parse(&written, path) {
                Ok(again) => assert_eq!(again, ManifestFile::Plugin(manifest), "written as {written}"),
                Err(error) => panic!("{error}, of {written}"),
            }
        }
        Ok(ManifestFile::Adapter(_)) => {}
        Err(error) => {
            assert!(!error.problems().is_empty(), "{error} does not say why");
            assert!(error.problems().len() <= 101, "{} problems", error.problems().len());
        }
    }
}
