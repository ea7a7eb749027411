//! Confinement: holding a worker to its permissions and limits, as far as this machine can hold a process.
//!
//! [`Confinement`] is worked out once, when a plugin is loaded; what this machine cannot hold is said then, and is a reason to
//! refuse the plugin where that is to be enforced. [`Cage`] is what one process is put into. It closes between fork and exec,
//! before the interpreter or anything in its environment runs, around the guard as around the worker: what a manifest names
//! as an interpreter may be any program, and an environment's own files run at the interpreter's start.
//!
//! - `baseline`: what any worker has to read; `files`: files, TCP ports and signals, by Landlock;
//! - `syscalls`: sockets and other ways out, by a filter of system calls; with them no new privileges, and no capabilities;
//! - `limits`: each process's own limits; `group`: those of all together, by a control group;
//! - `shortfall`: what of it all this machine cannot do; `unheld`: elsewhere than on Linux that is nearly all.

mod audit;
#[cfg(target_os = "linux")]
mod baseline;
#[cfg(target_os = "linux")]
mod cage;
#[cfg(not(target_os = "linux"))]
#[path = "unheld.rs"]
mod cage;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod group;
mod limits;
mod shortfall;
#[cfg(target_os = "linux")]
mod syscalls;

pub(crate) use audit::audit;
pub(crate) use cage::{Cage, Confinement, Group};
