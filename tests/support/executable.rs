//! Executables that tests make. Another process writes them: if this one did, a child that another test starts at that moment would
//! also have the file open for writing, and the kernel does not run a file that is open for writing ("Text file busy").

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses what it needs, and a panic is its report")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Copies a file so that it can be run.
pub(crate) fn copy_executable(from: &Path, to: &Path) {
    let done = Command::new("install").arg("--mode=755").args([from, to]).status().unwrap();
    assert!(done.success(), "{done}");
}

/// Writes a script that can be run.
pub(crate) fn write_executable(to: &Path, script: &str) {
    let mut install = Command::new("install");
    let mut install = install.arg("--mode=755").arg("/dev/stdin").arg(to).stdin(Stdio::piped()).spawn().unwrap();
    install.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = install.wait().unwrap();
    assert!(done.success(), "{done}");
}
