//! Confinement: holding a worker to its permissions and limits, as far as this machine can hold a process.
//!
//! [`Confinement`] is worked out once, when a plugin is loaded; what this machine cannot hold is said then, and is a reason to
//! refuse the plugin where that is to be enforced. [`Sandbox`] is what one process is put into before its program runs: before the
//! interpreter or anything in its environment, and around the guard as around the worker, since what a manifest names as an
//! interpreter may be any program, and an environment's own files run at the interpreter's start.
//!
//! In the order in which they close:
//! - `group`: the limits of all processes together, by a control group;
//! - `namespaces`: processes, files, shared objects and a network of its own, where the machine gives them;
//! - `limits`: each process's own limits; then no new privileges, and no capabilities;
//! - `landlock`: files, TCP ports and signals;
//! - `syscalls`: the system calls that are left.
//!
//! `baseline` is what any worker has to read, `protected` what none may be granted, `shortfall` what of it all this machine cannot
//! do, `support` the same for people who set up a machine; `unheld`: elsewhere than on Linux that is nearly all.

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
mod unheld;

pub(crate) use audit::audit;
#[cfg(target_os = "linux")]
pub(crate) use baseline::refusal_of_source;
#[cfg(target_os = "linux")]
use confined::means;
pub use shortfall::not_held;
pub use support::ConfinementSupport;
#[cfg(not(target_os = "linux"))]
use unheld::means;
#[cfg(not(target_os = "linux"))]
pub(crate) use unheld::{Confinement, Group, Sandbox, refusal_of_source};
#[cfg(target_os = "linux")]
pub(crate) use {confined::Confinement, group::Group, sandbox::Sandbox};
