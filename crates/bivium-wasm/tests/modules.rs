//! The modules of the crate are in layers: each imports only modules below it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../../../tests/support/modules.rs"]
mod modules;

use std::path::Path;

/// From the lowest. Modules of one layer do not import each other.
const LAYERS: &[&[&str]] = &[
    &["text", "document"],
    &["refusal", "store"],
    &["capability", "ceilings", "settings"],
    &["compile"],
    &["state"],
    &["guest", "trap", "wasi"],
    &["command", "instance", "typed", "world"],
    &["engine", "fuzzing", "kind"],
    &["describe", "factory"],
    &["lib"],
];

#[test]
fn no_module_imports_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(modules::wrong_imports(&src, LAYERS), Vec::<String>::new());
}
