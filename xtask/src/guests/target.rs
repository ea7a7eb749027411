//! Which compilers can build for WebAssembly. A test includes this file by `#[path]`, so it uses nothing of this crate.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// The variable that names a `rustc` with the target, in place of the active toolchain's.
pub(super) const RUSTC: &str = "BIVIUM_WASM_RUSTC";

/// The active toolchain's compiler, as cargo finds it.
pub(super) fn active() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Where `xtask/wasm-toolchain.sh` makes a toolchain; none for a user without a cache directory.
pub(super) fn kept() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cache")))?;
    Some(cache.join("bivium/wasm-toolchain"))
}

/// The path that a compiler prints; `None` if it fails.
pub(super) fn ask(rustc: &OsStr, question: &[&str]) -> Option<PathBuf> {
    let said = Command::new(rustc).args(question).output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().into())
}

/// Whether a compiler has the standard library of the target.
pub(super) fn has_target(rustc: &OsStr) -> bool {
    ask(rustc, &["--print", "target-libdir", "--target", TARGET])
        .and_then(|dir| fs::read_dir(dir).ok())
        .is_some_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}
