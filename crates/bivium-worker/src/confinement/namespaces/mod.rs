//! Namespaces of a worker's own: which of them this machine gives, and what is in them.
//!
//! A confined worker gets a PID namespace, so that its processes end together and no others exist for it; a mount namespace whose
//! root holds what it is granted and nothing else; an IPC namespace; and, without network permissions, a network namespace with
//! nothing in it. A host that is no administrator makes them inside a user namespace in which each id stands for itself.
//!
//! - [`Level`]: which of these this machine gives, found by a child that tries every step;
//! - `plan`: what is mounted where, worked out before a worker starts;
//! - `mount`: doing it, in the worker's process, before its program runs.

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
    /// The others are made inside a user namespace, since this host is no administrator.
    pub(crate) user: bool,
    /// A root directory of its own, and an IPC namespace with it.
    pub(crate) root: bool,
    pub(crate) processes: bool,
    pub(crate) network: bool,
}

impl Level {
    const NONE: Self = Self { user: false, root: false, processes: false, network: false };

    /// The most that this machine gives this process. Tried once: each try starts a child, which takes some milliseconds.
    pub(crate) fn here() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(|| Self::candidates().find(|level| trial(*level)).unwrap_or(Self::NONE))
    }

    /// What may be had, the best first.
    fn candidates() -> impl Iterator<Item = Self> {
        let is_administrator = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        // An administrator needs no user namespace, but one within a container may be kept from all others without.
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

    /// What of this a worker gets that has network permissions, or has none.
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

/// Whether a child gets through every step of it.
fn trial(level: Level) -> bool {
    let mounts = Plan::of_trial(level).mounts();
    crate::process::spawn::attempt(level.flags(), &mut || mounts.enter(level))
        .inspect_err(|error| tracing::debug!(?level, %error, "these namespaces are not to be had"))
        .is_ok()
}

/// The lines that make each id stand for itself in a user namespace.
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
