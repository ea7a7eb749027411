//! The Python runtime: worker processes, each in an environment of its own.
//!
//! [`RemotePluginProxy`] is the host's side of a Python plugin. It starts the universal worker (which needs only the standard
//! library and is part of this crate) in the plugin's own interpreter, sends it HTTP requests over loopback, and makes sure
//! that no process of it outlives the host. `docs/worker-protocol.md` describes the messages between the two.
//!
//! - `proxy`, `factory`, `worker`: the plugin, how its workers are made, one worker;
//! - `process`: a worker as a process: how it is started, ended and measured, and what it prints; `child`: how the kernel makes one;
//! - `environment`: the interpreter and the packages that it runs with; `caches`: the caches of its libraries;
//! - `confinement`: its permissions and limits; `cures`: what to do about errors that the manifest causes;
//! - `wire`: connections and messages; `call`: one call over them;
//! - `outline`: what can be found out about a class without running it.
//!
//! The pool (`bivium-instances`) queues calls, replaces instances that have died and counts; it is the same for components.

mod caches;
mod call;
#[expect(
    unsafe_code,
    reason = "code that runs in a child before its program starts needs unsafe; nothing else is in it"
)]
mod child;
mod confinement;
mod cures;
mod disk;
mod environment;
#[cfg(test)]
#[path = "../../../tests/support/executable.rs"]
mod executable;
mod extra;
mod factory;
#[doc(hidden)]
pub mod fuzzing;
mod low_memory;
mod manifest;
mod outline;
mod places;
mod process;
mod proxy;
mod refusals;
#[cfg(test)]
#[path = "../../../tests/support/skipped.rs"]
mod skipped;
#[cfg(test)]
#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;
mod wire;
mod worker;

pub use caches::{KeptCache, kept_caches, remove_cache};
pub use confinement::{ConfinementSupport, not_held};
pub use environment::{KeptEnvironment, environments_dir, environments_for, kept_environments, remove_environment};
pub use extra::{Variables, WorkerExtension, WorkerExtras};
pub use manifest::PythonManifest;
pub use outline::{Outline, outline, outline_made};
pub use places::WorkerPlaces;
pub use proxy::RemotePluginProxy;
pub use refusals::refusals;
