//! Shared by the end-to-end tests: paths, a manager for one test, and checks for processes that are left
//! behind.

pub mod processes;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bivium::PluginManager;
use bivium::monitor::MachineMonitor;
use bivium::scheduler::PermissiveScheduler;
use serde_json::{Value, json};

/// The two plugins that do the same, one for each runtime.
pub const TWINS: [&str; 2] = ["twin-python", "twin-wasm"];

/// The repository's root.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The `bivium` program that cargo built beside these tests.
///
/// # Errors
/// If it does not exist.
pub fn program() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let debug = exe.parent().and_then(Path::parent).context("a test is in target/PROFILE/deps")?;
    let program = debug.join("bivium");
    ensure!(program.is_file(), "{} does not exist: run `cargo xtask test`, or `cargo build` first", program.display());
    Ok(program)
}

/// The program with a data directory and an exchange of the test's own, and the twins and the example plugins.
///
/// # Errors
/// If the program does not exist.
pub fn bivium(own: &Path) -> Result<Command> {
    let mut command = Command::new(program()?);
    for plugins in ["tests/plugins", "tests/guests", "examples/plugins"] {
        command.arg("--manifests").arg(root().join(plugins));
    }
    command.arg("--data-dir").arg(own);
    Ok(command)
}

/// A manager of the twins, with a data directory of the test's own.
///
/// # Errors
/// If the exchange cannot be made.
pub fn manager(own: &Path) -> bivium::Result<PluginManager> {
    PluginManager::builder()
        .manifests(root().join("tests/plugins"))
        .manifests(root().join("tests/guests"))
        .data_dir(own)
        .monitor(Arc::new(MachineMonitor::default()))
        .scheduler(Arc::new(PermissiveScheduler))
        .build()
}

/// Writes a Python plugin of class `P` and its manifest, to which `more` adds.
///
/// # Panics
/// If they cannot be written, or `more` is not an object.
pub fn plugin(dir: &Path, name: &str, code: &str, more: Value) {
    let module = name.replace('-', "_");
    std::fs::write(dir.join(format!("{module}.py")), code).unwrap();
    let mut manifest =
        json!({"name": name, "version": "1", "category": "made", "module": module, "class": "P", "source": "."});
    let Value::Object(more) = more else { panic!("{more} is not an object") };
    manifest.as_object_mut().unwrap().extend(more);
    std::fs::write(dir.join(format!("{name}.json")), manifest.to_string()).unwrap();
}

/// Waits until the condition is true, checking often.
///
/// # Panics
/// If it is not true after twenty seconds.
pub async fn until(is: impl AsyncFn() -> bool) {
    let wait = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the condition is still false");
}

/// The README's Rust, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The documentation's Rust, compiled: a page each. A test knows of pages that are missing here.
#[cfg(doctest)]
#[doc = include_str!("../../docs/compilation.md")]
pub struct Compilation;

#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct Embedding;

#[cfg(doctest)]
#[doc = include_str!("../../docs/calls.md")]
pub struct Calls;

/// The Rust of the page on cjm-plugin-system, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/cjm.md")]
pub struct CjmPage;
