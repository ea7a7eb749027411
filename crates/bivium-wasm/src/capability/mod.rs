//! What a component can reach beyond its own memory.
//!
//! Each capability is a module with the state of one instance and, where it can be granted, the grant of one component, from which
//! that state is made. Its logic is methods of these. A capability knows what every store has, and neither the other capabilities
//! nor the interfaces by which a guest calls it: those are implemented in `wasi/` and `world/`.

pub(crate) mod blobs;
pub(crate) mod cli;
pub(crate) mod clocks;
pub(crate) mod network;
pub(crate) mod random;
