//! A worker's own namespaces: which of them this machine supports, and their content.
//!
//! A confined worker gets a PID namespace, so that its processes end together and it sees no others; a mount namespace whose
//! root contains only what it is granted; an IPC namespace; and, without network permissions, an empty network namespace. A host
//! without administrator rights makes them inside a user namespace in which each id is mapped to itself.
//!
//! - `level`: which of these a worker gets; what this machine supports is found by a child that tries every step;
//! - `plan`: what is mounted where, decided before a worker starts;
//! - `mount`: mounts it, in the worker's process, before its program runs.

mod level;
mod mount;
mod plan;

use std::sync::OnceLock;

use crate::child::attempt;

pub(super) use level::Level;
pub(super) use mount::Mounts;
pub(super) use plan::{Access, Plan};

impl Level {
    /// The best level that this process can use. Found once: each try starts a child, which takes some milliseconds.
    pub(crate) fn here() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(|| Self::candidates().find(|level| trial(*level)).unwrap_or(Self::NONE))
    }
}

/// Whether every step of a level succeeds in a child.
fn trial(level: Level) -> bool {
    let mounts = Mounts::of(&Plan::of_trial(level));
    attempt(level.flags(), &mut || mounts.enter(level))
        .inspect_err(|error| tracing::debug!(?level, %error, "these namespaces are not available"))
        .is_ok()
}
