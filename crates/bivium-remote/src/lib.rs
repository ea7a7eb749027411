//! The Python road: worker processes, each in an environment of its own.
//!
//! [`RemotePluginProxy`] is the host's side of a Python plugin. It starts the universal worker (standard library
//! only, carried inside this crate) in the plugin's own interpreter, speaks HTTP to it over loopback, and sees to
//! it that nothing of it outlives the host. `docs/worker-protocol.md` has what travels between the two.
//!
//! - [`RemotePluginProxy`] over `factory` and `worker`: the plugin, how workers are made, one worker;
//! - `process`, `spawn`, `ids`, `ending`, `memory`, `channel`, `output`: the worker as a process: its start, its end, its voice;
//! - `client`, `flight`, `stream`, `payload`, `answer`, `wire`: calls to it;
//! - `environment`, `embedded`, `variables`, `ancestor`: what it runs in; `confine`: what it is held to.
//!
//! Queueing, replacing what died and counting are the pool's (`bivium-instances`), and are the same for components.

mod ancestor;
mod answer;
mod caches;
mod channel;
mod client;
mod confine;
mod denials;
mod disk;
mod embedded;
mod ending;
mod environment;
mod factory;
mod flight;
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod lines;
mod memory;
mod outline;
mod output;
mod payload;
mod process;
mod proxy;
#[cfg(test)]
#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;
#[expect(
    unsafe_code,
    reason = "what a child does before its program runs cannot be said safely; nothing else is in it"
)]
mod spawn;
#[cfg(target_os = "linux")]
mod stat;
mod stream;
mod sweep;
mod usage;
mod variables;
mod wire;
mod worker;

pub use caches::{KeptCache, kept_caches, remove_cache};
pub use confine::{ConfinementSupport, not_held};
pub use environment::{KeptEnvironment, environments_for, kept_environments, malformed, remove_environment};
pub use outline::{Outline, outline};
pub use proxy::{RemotePluginProxy, WorkerPlaces};
