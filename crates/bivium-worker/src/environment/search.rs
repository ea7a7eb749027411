//! Finds the interpreter to use if a manifest names none.
//!
//! `python3` on `PATH` is the user's default Python. Only if it is not suitable (missing, broken, of a version that the plugin
//! does not support) the names with a version are tried, the newest first.

use bivium_interface::PluginError;

use super::facts::Facts;
use super::machine::Machine;
use super::probe::{ProbeFailure, probe};
use super::version::Wanted;

use crate::manifest::PythonManifest;

/// The minor versions of Python 3 that are searched by name.
const MINORS: std::ops::RangeInclusive<u32> = 9..=14;

/// Finds the interpreter.
///
/// # Errors
/// `unavailable`, with what was found instead.
pub(super) async fn search(
    machine: &Machine,
    manifest: &PythonManifest,
    wanted: &Wanted,
) -> Result<Facts, PluginError> {
    let numbered = MINORS.rev().map(|minor| format!("python3.{minor}"));
    let mut first = None;
    for name in std::iter::once("python3".to_owned()).chain(numbered) {
        let Some(file) = machine.find(&name) else { continue };
        let refused = match probe(machine, &file).await {
            Ok(facts) if wanted.takes(facts.version) => return Ok(facts),
            Ok(facts) => format!("{} is {}", file.display(), facts.version),
            // It was just replaced, or is a launcher for a version that is not installed.
            Err(ProbeFailure::Missing) => continue,
            Err(refusal) => format!("{} {refusal}", file.display()),
        };
        first.get_or_insert(refused);
    }
    let found = first.unwrap_or_else(|| "there is no python3".into());
    Err(PluginError::unavailable(format!("no Python on PATH is {wanted}: {found}")).with_help(format!(
        "install such a Python, or name an interpreter as python_path in {}",
        manifest.path.display()
    )))
}
