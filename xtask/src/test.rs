//! `cargo xtask test`: everything that the tests need, then the tests.

use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, run};
use crate::guests;

/// Runs the tests of the workspace, of the example components (on this machine's own target) and of the Python
/// side. `--from-source` builds the components from source or fails.
pub(crate) fn run_tests(from_source: bool) -> Result<()> {
    guests::run(guests::Options { from_source, ..guests::Options::default() })?;
    run(&mut cargo(&["test", "--workspace"]))?;
    run(cargo(&["test", "--workspace"]).current_dir(crate::root().join("examples/plugins")))?;
    let mut python = Command::new("python3");
    python.args(["-m", "unittest", "discover", "--start-directory", "tests/python"]);
    run(python.current_dir(crate::root()))
}
