//! The outline of a class's source is the same as the running worker's description of the class.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

mod common;

use bivium_interface::{MethodInfo, PluginInterface};
use common::{load_from, manifest};
use serde_json::json;

#[tokio::test]
async fn a_source_tells_what_inspection_tells() {
    for class in ["Both", "Documenting"] {
        let manifest = manifest(class, json!({"module": "described"}));
        let outline = bivium_worker::outline(&bivium_worker::PythonManifest::of(&manifest).unwrap());
        assert_eq!(outline.notes, [""; 0]);
        let worker = load_from(manifest).await.unwrap();
        // The worker's signatures are Python's own text; the outline's are as written in the source.
        let told = |methods: Vec<MethodInfo>| -> Vec<_> {
            methods.into_iter().map(|method| json!(method.with_signature(""))).collect()
        };
        let (read, asked) = (told(outline.methods.unwrap()), told(worker.plugin.methods().await.unwrap()));
        assert_eq!(read.len(), asked.len());
        for (read, asked) in read.iter().zip(&asked) {
            assert_eq!(read, asked, "{read:#} {asked:#}");
        }
    }
}
