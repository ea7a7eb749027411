//! `cargo xtask test`: prepares everything that the tests need, runs the tests, and lists those that were skipped on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, run};
use crate::{environment, guests};

/// The example plugins whose requirements the Python tests need. Plugins that need gigabytes (Torch) are left out.
const PLUGINS: [&str; 2] = ["embed", "transcribe"];

/// Other packages that these tests need.
const PACKAGES: [&str; 2] = ["pandas==2.3.3", "pydantic==2.12.5"];

/// The variable that names a file. Tests that are skipped write a line with the reason into it.
const SKIPPED: &str = "BIVIUM_SKIPPED";

/// Runs the tests of the workspace, of the example components (compiled for this machine) and of the Python code. With `from_source`,
/// components are built from source, or the task fails.
pub(crate) fn run_tests(from_source: bool) -> Result<()> {
    guests::run(guests::Options { from_source, ..guests::Options::default() })?;
    fs::create_dir_all(crate::target())?;
    // An absolute path, because tests run in other directories.
    let target = crate::target().canonicalize()?;
    let python = python(&target);
    let skipped = target.join("skipped-tests.txt");
    fs::write(&skipped, "")?;
    let done = run_all(&python, &skipped);
    let told = fs::read_to_string(&skipped)?;
    for line in told.lines() {
        eprintln!("skipped: {line}");
    }
    done
}

fn run_all(python: &Path, skipped: &Path) -> Result<()> {
    run(cargo(&["test", "--workspace"]).env(SKIPPED, skipped))?;
    let examples = crate::root().join("examples/plugins");
    run(cargo(&["test", "--workspace"]).env(SKIPPED, skipped).current_dir(examples))?;
    run(Command::new(python).arg("tests/python").env(SKIPPED, skipped).current_dir(crate::root()))
}

/// A Python with the packages that the tests need, made once. If that fails, the `python3` on PATH; then tests that need more packages are
/// skipped.
fn python(target: &Path) -> PathBuf {
    let system = PathBuf::from("python3");
    let made = requirements().and_then(|packages| {
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        environment::make(&target.join("test-python"), &system, &packages)
    });
    made.unwrap_or_else(|error| {
        eprintln!(
            "test: packages for some Python tests cannot be installed from PyPI, so these tests are skipped: {error:#}"
        );
        system
    })
}

fn requirements() -> Result<Vec<String>> {
    let mut all = PACKAGES.map(str::to_owned).to_vec();
    for plugin in PLUGINS {
        let path = crate::root().join("examples/plugins").join(plugin).join(format!("{plugin}.json"));
        let manifest: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let pinned = manifest.get("requirements").and_then(Value::as_array);
        let pinned = pinned.with_context(|| format!("{} has no requirements", path.display()))?;
        all.extend(pinned.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(all)
}
