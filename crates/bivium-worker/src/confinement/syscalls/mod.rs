//! The system call filter of a confined worker: an allow-list. Other calls fail with EPERM, or with ENOSYS if the C library
//! then makes another call that the filter can check.
//!
//! A filter sees numbers: it does not know which process an id belongs to, nor which address is in memory. So without a PID namespace,
//! calls that act on a process are allowed only for the caller itself (id 0), and connections are restricted by which sockets can be
//! made. A socket stays in the network namespace in which it was made: the listener from the host is in the host's. That it cannot be used
//! to connect is enforced by Landlock if it supports ports; otherwise this filter refuses `connect`, and in any case it refuses sends
//! that connect.

mod conditions;
mod held;
mod table;

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

use conditions::number;
pub(super) use held::{Held, Sockets};

/// The bit that marks system calls of the x32 ABI, which have other numbers.
const X32: u32 = 0x4000_0000;

/// The filter programs to install, in this order; None on a processor without support. After the last one no other can be
/// installed.
pub(super) fn filters(held: &Held) -> Option<Vec<BpfProgram>> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let mut allowed = conditions::rules(held).ok()?;
    let optional = [(held.ipc, table::SHARED_OBJECTS), (held.root, table::PRIVATE_ROOT)];
    let optional = optional.into_iter().filter_map(|(is_held, groups)| is_held.then_some(groups));
    for group in [table::ALLOWED, table::OLDER].into_iter().chain(optional).flatten() {
        allowed.extend(group.iter().map(|call| (number(*call), Vec::new())));
    }
    let unknown: BTreeMap<_, _> = table::UNKNOWN.iter().map(|call| (number(*call), Vec::new())).collect();
    // The other program refuses these calls.
    allowed.extend(unknown.clone());
    let refused = errno(libc::EPERM)?;
    let allow = SeccompFilter::new(allowed, refused.clone(), SeccompAction::Allow, arch).ok()?;
    let absent = SeccompFilter::new(unknown, SeccompAction::Allow, errno(libc::ENOSYS)?, arch).ok()?;
    [absent, allow].into_iter().map(|filter| program(filter, arch, &refused)).collect()
}

fn errno(number: libc::c_int) -> Option<SeccompAction> {
    u32::try_from(number).ok().map(SeccompAction::Errno)
}

/// Compiles a filter. A call of another ABI (32 bits, x32) is refused like any other.
fn program(filter: SeccompFilter, arch: TargetArch, refused: &SeccompAction) -> Option<BpfProgram> {
    const RETURN: u16 = 0x06;
    let mut program: BpfProgram = filter.try_into().ok()?;
    let refuse = u32::from(refused.clone());
    // It begins with: load the architecture; if it is this one, skip the next step; end the process.
    let foreign = program.get_mut(2).filter(|step| step.code == RETURN)?;
    foreign.k = refuse;
    if arch == TargetArch::x86_64 {
        // Load the call's number; if it has the bit, refuse.
        let before = [(0x20, 0, 0, 0), (0x35, 0, 1, X32), (RETURN, 0, 0, refuse)];
        program.splice(0..0, before.map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k }));
    }
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_filters_for_this_processor_that_the_kernel_accepts() {
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
