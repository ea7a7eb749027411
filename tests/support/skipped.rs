//! The message of a test that cannot run on this machine. Tests include this file by `#[path]`.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Reports why the calling test is skipped. libtest does not show the output of a test that succeeds: so `cargo xtask test` collects
/// these reports in the file that `BIVIUM_SKIPPED` names, and prints them at its end.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    let Some(list) = std::env::var_os("BIVIUM_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let written =
        OpenOptions::new().append(true).create(true).open(list).and_then(|mut list| list.write_all(line.as_bytes()));
    assert!(written.is_ok(), "{written:?}");
}
