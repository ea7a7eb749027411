//! Texts that may be manifests.

use std::path::Path;

use bivium::forms;
use bivium::manifest::ManifestFile;

/// Parses `data`. A valid manifest must be the same after it is written and parsed again. For an invalid one, the messages must be of
/// limited length.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/plugins/p.json");
    match ManifestFile::parse(text, path, forms()) {
        Ok(ManifestFile::Plugin(manifest)) => {
            let written = serde_json::to_string(&*manifest).expect("a manifest can be written");
            match ManifestFile::parse(&written, path, forms()) {
                Ok(ManifestFile::Plugin(again)) => assert_eq!(again, manifest, "written as {written}"),
                Ok(ManifestFile::Other(other)) => panic!("a plugin was written as the {} {written}", other.kind),
                Err(error) => panic!("{error}, of {written}"),
            }
        }
        Ok(ManifestFile::Other(_)) => {}
        Err(error) => {
            assert!(!error.problems().is_empty(), "{error} does not say why");
            assert!(error.problems().len() <= 101, "{} problems", error.problems().len());
        }
    }
}
