//! `cargo xtask simulate`: the simulation of the scheduler, with more machines than the tests have.

use anyhow::Result;

use crate::command::{cargo, run};

/// Runs the simulation of `crates/bivium/src/scheduler/devices/simulation.rs` with this many machines.
pub(crate) fn run_simulation(machines: &str) -> Result<()> {
    let test = ["test", "--quiet", "--package", "bivium", "--lib", "devices::simulation", "--", "--nocapture"];
    run(cargo(&test).env("BIVIUM_SIMULATIONS", machines))
}
