//! `cargo xtask soak`: load on a Python plugin whose processes are killed at random.

use anyhow::Result;

use crate::command::{cargo, run};

/// Builds the program and runs it with these options: see `tests/src/bin/soak`.
pub(crate) fn run_soak(options: &[&str]) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--package", "bivium-tests", "--bin", "soak", "--"]);
    run(command.args(options))
}
