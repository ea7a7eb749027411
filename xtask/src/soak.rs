//! `cargo xtask soak`: load on Python plugins and components, while processes are killed and stopped, and directories of the
//! exchange removed, at random.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::guests;

/// Makes the components, builds the program and runs it with these options: see `tests/src/bin/soak`.
pub(crate) fn run_soak(options: &[&str]) -> Result<()> {
    guests::run(guests::Options::default())?;
    let mut command = cargo(&["run", "--quiet", "--package", "bivium-tests", "--bin", "soak", "--"]);
    run(command.args(options))
}
