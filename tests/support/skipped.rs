//! What a test says that cannot run on this machine. Tests include this file by `#[path]`.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says why the test that calls this is left out. libtest shows no word of a test that ends well: `cargo xtask test` gathers these
/// in the file that `BIVIUM_SKIPPED` names, and tells them at its end.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(list) = std::env::var_os("BIVIUM_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let written =
        OpenOptions::new().append(true).create(true).open(list).and_then(|mut list| list.write_all(line.as_bytes()));
    assert!(written.is_ok(), "{written:?}");
}
