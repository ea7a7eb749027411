//! The Python road: worker processes, each in an environment of its own.
//!
//! [`RemotePluginProxy`] is the host's side of a Python plugin. It starts the universal worker (standard library
//! only, carried inside this crate) in the plugin's own interpreter, speaks HTTP to it over loopback, and sees to
//! it that nothing of it outlives the host. `docs/worker-protocol.md` has what travels between the two.
//!
//! - `proxy`, `factory`, `worker`: the plugin, how its workers are made, one worker;
//! - `process`: a worker as a process: how it starts, ends, is swept and measured, and what it prints;
//! - `environment`: the interpreter and the packages that it runs in; `caches`: what its libraries keep;
//! - `confinement`: what it is held to;
//! - `wire`: connections and messages; `call`: one call on its way over them;
//! - `outline`: what can be known of a class without running it.
//!
//! Queueing, replacing what died and counting are the pool's (`bivium-instances`), and are the same for components.

mod ancestor;
mod caches;
mod call;
mod confinement;
mod disk;
mod environment;
#[cfg(test)]
#[path = "../../../tests/support/executable.rs"]
mod executable;
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
pub use environment::{KeptEnvironment, environments_for, kept_environments, remove_environment};
pub use manifest::PythonManifest;
pub use outline::{Outline, outline};
pub use places::WorkerPlaces;
pub use proxy::RemotePluginProxy;
pub use refusals::refusals;
