//! A worker's own namespaces: which of them this machine supports, and their content.
//!
//! A confined worker gets a PID namespace, so that its processes end together and it sees no others; a mount namespace whose
//! root contains only what it is granted; an IPC namespace; and, without network permissions, an empty network namespace. A host
//! without administrator rights makes them inside a user namespace in which each id is mapped to itself.
//!
//! - [`Level`]: which of these this machine supports, found by a child that tries every step;
//! - `plan`: what is mounted where, decided before a worker starts;
//! - `mount`: mounts it, in the worker's process, before its program runs.

mod mount;
mod plan;

use std::ffi::CString;
use std::sync::OnceLock;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

pub(super) use mount::Mounts;
pub(super) use plan::{Access, Plan};

/// The namespaces that a worker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Level {
    /// The others are made inside a user namespace, since this host has no administrator rights.
    pub(crate) user: bool,
    /// A root directory of its own, and an IPC namespace with it.
    pub(crate) root: bool,
    pub(crate) processes: bool,
    pub(crate) network: bool,
}

impl Level {
    const NONE: Self = Self { user: false, root: false, processes: false, network: false };

    /// The best level that this process can use. Found once: each try starts a child, which takes some milliseconds.
    pub(crate) fn here() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(|| Self::candidates().find(|level| trial(*level)).unwrap_or(Self::NONE))
    }

    /// The levels to try, the best first.
    fn candidates() -> impl Iterator<Item = Self> {
        let is_administrator = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        // An administrator needs no user namespace, but in a container may be unable to make the others without one.
        let users = [false, true].into_iter().filter(move |user| *user || is_administrator);
        users.flat_map(|user| {
            [(true, true), (true, false), (false, true), (false, false)].map(|(processes, network)| Self {
                user,
                root: true,
                processes,
                network,
            })
        })
    }

    /// The level for a worker with or without network permissions.
    pub(super) fn for_network(self, has_permissions: bool) -> Self {
        Self { network: self.network && !has_permissions, ..self }
    }

    /// The flags of `clone`.
    pub(super) fn flags(self) -> libc::c_int {
        let of = |is: bool, flags: libc::c_int| if is { flags } else { 0 };
        of(self.user, libc::CLONE_NEWUSER)
            | of(self.root, libc::CLONE_NEWNS | libc::CLONE_NEWIPC)
            | of(self.processes, libc::CLONE_NEWPID)
            | of(self.network, libc::CLONE_NEWNET)
    }
}

/// Whether every step of a level succeeds in a child.
fn trial(level: Level) -> bool {
    let mounts = Plan::of_trial(level).mounts();
    crate::child::attempt(level.flags(), &mut || mounts.enter(level))
        .inspect_err(|error| tracing::debug!(?level, %error, "these namespaces are not available"))
        .is_ok()
}

/// The lines that map each id to itself in a user namespace.
#[derive(Debug)]
pub(super) struct IdMaps {
    user: CString,
    group: CString,
}

impl IdMaps {
    pub(super) fn new() -> Self {
        let line = |id: u32| CString::new(format!("{id} {id} 1")).unwrap_or_default();
        Self { user: line(geteuid().as_raw()), group: line(getegid().as_raw()) }
    }
}
