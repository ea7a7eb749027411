//! Confinement: enforces a worker's permissions and limits, as far as this machine can.
//!
//! [`Confinement`] is decided once, when a plugin is loaded. What this machine cannot enforce is reported then, and the plugin is
//! refused if it has `enforce`. A process enters its [`Sandbox`] before its program runs: before the interpreter or any code of its
//! environment. The guard is in it as well as the worker, since the interpreter that a manifest names may be any program, and files of
//! an environment run when the interpreter starts.
//!
//! In the order in which they take effect:
//! - `group`: the limits of all processes together, by a control group;
//! - `namespaces`: processes, files, shared objects and a network of its own, if the machine has namespaces;
//! - `limits`: each process's own limits; then no new privileges, and no capabilities;
//! - `landlock`: files, TCP ports and signals;
//! - `syscalls`: the system calls that are left.
//!
//! `baseline`: what every worker must read; `protected`: what none may be granted; `shortfall`: what this machine cannot enforce;
//! `support`: the same for people who set up a machine; `unsupported`: other systems than Linux, where only limits are set.

mod audit;
#[cfg(target_os = "linux")]
mod baseline;
#[cfg(target_os = "linux")]
mod confined;
#[cfg(target_os = "linux")]
mod group;
#[cfg(target_os = "linux")]
mod landlock;
mod limits;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod protected;
#[cfg(target_os = "linux")]
mod sandbox;
mod shortfall;
mod support;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(not(target_os = "linux"))]
mod unsupported;

pub(crate) use audit::audit;
#[cfg(target_os = "linux")]
pub(crate) use baseline::refusal_of_source;
#[cfg(target_os = "linux")]
use confined::means;
pub use support::ConfinementSupport;
#[cfg(not(target_os = "linux"))]
use unsupported::means;
#[cfg(not(target_os = "linux"))]
pub(crate) use unsupported::{Confinement, Group, Sandbox, refusal_of_source};
#[cfg(target_os = "linux")]
pub(crate) use {confined::Confinement, group::Group, sandbox::Sandbox};

use bivium_interface::{Granted, PluginError};

/// Which permissions and limits of a Python plugin's workers this machine cannot enforce: a sentence each, which begins with the
/// manifest's key. Blocks for some milliseconds the first time: it starts children that try each step.
#[must_use]
pub fn not_held(granted: &Granted) -> Vec<String> {
    shortfall::shortfall(granted, means(granted))
}

/// Why this machine does not load a plugin with these grants: it must enforce them and cannot. Blocks as [`not_held`] does.
pub(crate) fn refusal_to_enforce(granted: &Granted) -> Option<PluginError> {
    if granted.enforce { shortfall::refusal(granted, &not_held(granted)) } else { None }
}
