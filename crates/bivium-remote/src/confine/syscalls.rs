//! The filter of a confined worker's system calls: what reaches other processes past the files and ports that Landlock knows.
//!
//! A process without network permissions gets no socket at all: its host hands it the one that it listens on. With some, it
//! gets TCP sockets, whose ports are Landlock's matter, and UDP where names have to be resolved. Sockets of the machine itself
//! (`AF_UNIX`) are never to be had: behind one of them sits a service that starts programs for whoever asks. Pairs and pipes
//! remain. What would go around all this (`io_uring`, sockets of other kinds that carry TCP, connecting by sending) is closed.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Sockets that a worker may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    None,
    Tcp,
    TcpAndUdp,
}

/// Always refused.
const REFUSED: &[libc::c_long] = &[
    // Makes and connects sockets on a thread of the kernel's, where no filter looks.
    libc::SYS_io_uring_setup,
    // Those that connect are the host's to grant; nobody is to connect to a worker but its host.
    libc::SYS_bind,
    libc::SYS_listen,
    // The user's keys.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Memory, queues and locks that processes of the same user share by number or name.
    libc::SYS_mq_open,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_shmget,
    // Looking into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
];

/// The bit that marks system calls of the x32 form, which have other numbers.
const X32: u32 = 0x4000_0000;

/// The filter, or none on a processor that it cannot be written for.
pub(super) fn filter(sockets: Sockets) -> Option<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let refuse = SeccompAction::Errno(u32::try_from(libc::EACCES).ok()?);
    let filter = SeccompFilter::new(rules(sockets).ok()?, SeccompAction::Allow, refuse.clone(), arch).ok()?;
    let mut program: BpfProgram = filter.try_into().ok()?;
    if arch == TargetArch::x86_64 {
        let refuse = u32::from(refuse);
        // Load the number; if it has the bit, refuse.
        let before = [(0x20, 0, 0, 0), (0x35, 0, 1, X32), (0x06, 0, 0, refuse)];
        program.splice(0..0, before.map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k }));
    }
    Some(program)
}

/// An old form of raw sockets.
const SOCK_PACKET: libc::c_int = 10;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

#[expect(clippy::useless_conversion, reason = "the numbers have fewer bits on some processors")]
fn rules(sockets: Sockets) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = REFUSED.iter().map(|call| (i64::from(*call), Vec::new())).collect();
    let equals = |index, value: libc::c_int| when(index, SeccompCmpOp::Eq, value);
    let differs = |index, value: libc::c_int| when(index, SeccompCmpOp::Ne, value);
    let has = |index, bits: libc::c_int| when(index, SeccompCmpOp::MaskedEq(u64::from(bits.unsigned_abs())), bits);
    if sockets == Sockets::None {
        rules.insert(i64::from(libc::SYS_socket), Vec::new());
        return Ok(rules);
    }
    const KIND: u64 = 0xf;
    let kind = |kind: libc::c_int| when(1, SeccompCmpOp::MaskedEq(KIND), kind);
    let mut unwanted = vec![libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP, SOCK_PACKET];
    if sockets == Sockets::Tcp {
        unwanted.push(libc::SOCK_DGRAM);
    }
    let mut socket = vec![
        SeccompRule::new(vec![differs(0, libc::AF_INET)?, differs(0, libc::AF_INET6)?])?,
        // Others carry TCP under another name.
        SeccompRule::new(vec![differs(2, 0)?, differs(2, libc::IPPROTO_TCP)?, differs(2, libc::IPPROTO_UDP)?])?,
    ];
    for unwanted in unwanted {
        socket.push(SeccompRule::new(vec![kind(unwanted)?])?);
    }
    rules.insert(i64::from(libc::SYS_socket), socket);
    // Sending that connects, past Landlock.
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(i64::from(call), vec![SeccompRule::new(vec![has(flags, libc::MSG_FASTOPEN)?])?]);
    }
    let option = [equals(1, libc::IPPROTO_TCP)?, equals(2, libc::TCP_FASTOPEN_CONNECT)?];
    rules.insert(i64::from(libc::SYS_setsockopt), vec![SeccompRule::new(option.into())?]);
    Ok(rules)
}

/// A condition on one argument, of which the kernel looks at 32 bits.
fn when(index: u8, is: SeccompCmpOp, value: libc::c_int) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, is, u64::from(value.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_filter_for_this_processor() {
        for sockets in [Sockets::None, Sockets::Tcp, Sockets::TcpAndUdp] {
            assert!(filter(sockets).is_some_and(|program| !program.is_empty()), "{sockets:?}");
        }
    }
}
