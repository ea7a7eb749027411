//! `cargo xtask soak`: calls Python plugins and components while it kills and stops processes and removes directories of the exchange at
//! random.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::guests;

/// Prepares the components, builds the soak program and runs it with these options: see `tests/src/bin/soak`.
pub(crate) fn run_soak(options: &[&str]) -> Result<()> {
    guests::run(guests::Options::default())?;
    let mut command = cargo(&["run", "--quiet", "--package", "bivium-tests", "--bin", "soak", "--"]);
    run(command.args(options))
}
