//! The filter of a confined worker's system calls: an allow-list. What it does not name gives EPERM, or ENOSYS where the C library
//! then makes another call that the filter can read.
//!
//! A filter sees numbers: it cannot tell whose process an id names, nor which address lies in memory. So a call that acts on an id is
//! allowed for the caller itself (id 0) unless no other process has an id, and which sockets can be made decides what can be
//! connected to. A socket keeps the network that it was made in: the listener that the host hands over belongs to the host's. That it
//! connects nowhere is held by Landlock where it knows ports, and by this filter, which refuses `connect` where it does not and
//! sending that connects everywhere.

mod conditions;
mod table;

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

use conditions::number;

/// Sockets that a worker may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    None,
    /// Stream sockets of the machine itself (`AF_UNIX`): where their names lead nowhere outside.
    Local,
    Tcp,
    TcpAndUdp,
}

/// What holds a worker besides the filter, so that the filter can allow more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) sockets: Sockets,
    /// It has a PID namespace of its own.
    pub(super) processes: bool,
    /// It has an IPC namespace of its own.
    pub(super) ipc: bool,
    /// It has a root directory of its own.
    pub(super) root: bool,
    /// It uses a GPU, whose driver is spoken to by `ioctl`.
    pub(super) gpu: bool,
}

/// The bit that marks system calls of the x32 form, which have other numbers.
const X32: u32 = 0x4000_0000;

/// The programs to install, in this order, or none on a processor that they cannot be written for. After the last nobody can
/// install another.
pub(super) fn filters(held: &Held) -> Option<Vec<BpfProgram>> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let mut allowed = conditions::rules(held).ok()?;
    let optional = [(held.ipc, table::SHARED_OBJECTS), (held.root, table::PRIVATE_ROOT)];
    let optional = optional.into_iter().filter_map(|(is_held, groups)| is_held.then_some(groups));
    for group in [table::ALLOWED, table::OLDER].into_iter().chain(optional).flatten() {
        allowed.extend(group.iter().map(|call| (number(*call), Vec::new())));
    }
    let unknown: BTreeMap<_, _> = table::UNKNOWN.iter().map(|call| (number(*call), Vec::new())).collect();
    // The other program refuses these.
    allowed.extend(unknown.clone());
    let refused = errno(libc::EPERM)?;
    let allow = SeccompFilter::new(allowed, refused.clone(), SeccompAction::Allow, arch).ok()?;
    let absent = SeccompFilter::new(unknown, SeccompAction::Allow, errno(libc::ENOSYS)?, arch).ok()?;
    [absent, allow].into_iter().map(|filter| program(filter, arch, &refused)).collect()
}

fn errno(number: libc::c_int) -> Option<SeccompAction> {
    u32::try_from(number).ok().map(SeccompAction::Errno)
}

/// Compiles a filter. A call by the numbers of another kind of processor (32 bits, x32) is refused like any other.
fn program(filter: SeccompFilter, arch: TargetArch, refused: &SeccompAction) -> Option<BpfProgram> {
    const RETURN: u16 = 0x06;
    let mut program: BpfProgram = filter.try_into().ok()?;
    let refuse = u32::from(refused.clone());
    // It begins with: load the kind of processor; if it is this one, pass over the next; end the process.
    let foreign = program.get_mut(2).filter(|step| step.code == RETURN)?;
    foreign.k = refuse;
    if arch == TargetArch::x86_64 {
        // Load the number; if it has the bit, refuse.
        let before = [(0x20, 0, 0, 0), (0x35, 0, 1, X32), (RETURN, 0, 0, refuse)];
        program.splice(0..0, before.map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k }));
    }
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_filters_for_this_processor_and_the_kernel_takes_their_length() {
        const LONGEST: usize = 4096;
        for sockets in [Sockets::None, Sockets::Local, Sockets::Tcp, Sockets::TcpAndUdp] {
            for more in [false, true] {
                let held = Held { sockets, processes: more, ipc: more, root: more, gpu: more };
                let filters = filters(&held).unwrap();
                assert_eq!(filters.len(), 2);
                assert!(filters.iter().all(|program| (4..LONGEST).contains(&program.len())), "{held:?}");
            }
        }
    }
}
