//! [`Level`]: which namespaces a worker gets.

use rustix::thread::{CapabilitySet, capabilities};

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
    pub(super) const NONE: Self = Self { user: false, root: false, processes: false, network: false };

    /// The levels to try, the best first.
    pub(super) fn candidates() -> impl Iterator<Item = Self> {
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
    pub(in crate::confinement) fn for_network(self, has_permissions: bool) -> Self {
        Self { network: self.network && !has_permissions, ..self }
    }

    /// The flags of `clone`.
    pub(in crate::confinement) fn flags(self) -> libc::c_int {
        let of = |is: bool, flags: libc::c_int| if is { flags } else { 0 };
        of(self.user, libc::CLONE_NEWUSER)
            | of(self.root, libc::CLONE_NEWNS | libc::CLONE_NEWIPC)
            | of(self.processes, libc::CLONE_NEWPID)
            | of(self.network, libc::CLONE_NEWNET)
    }
}
