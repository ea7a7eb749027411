//! The system calls for which only some arguments are allowed.
//!
//! A filter sees numbers: flags, modes and kinds, but not which process an id belongs to, nor what is in memory.

use std::collections::BTreeMap;

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::held::{Held, Sockets};
use super::table;

pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, BackendError>;

/// The flags for new namespaces.
const NAMESPACES: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// A program with one of these bits runs with its owner's or group's rights.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// The number of `fchmodat2` (Linux 6.6), which is the same on all processors.
const FCHMODAT2: libc::c_long = 452;

/// The calls that make or change a file, and which argument is its mode.
const MODES: &[(libc::c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 2),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_mkdirat, 2),
    (libc::SYS_mknodat, 2),
    (libc::SYS_openat, 3),
];

/// The same for objects of an IPC namespace, if the worker has one of its own.
const SHARED_MODES: &[(libc::c_long, u8)] =
    &[(libc::SYS_mq_open, 2), (libc::SYS_msgget, 1), (libc::SYS_semget, 2), (libc::SYS_shmget, 2)];

/// What `fcntl` may not do: have signals sent to another process, watch a directory, delay others who open a file.
const REFUSED_FCNTL: &[libc::c_int] = &[libc::F_SETOWN, F_SETOWN_EX, F_SETSIG, libc::F_NOTIFY, libc::F_SETLEASE];
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;

/// What `ioctl` may do: query a terminal, and set close-on-exec and non-blocking mode.
const IOCTLS: &[u32] = &[
    0x5401,      // TCGETS
    0x802c_542a, // TCGETS2
    0x5413,      // TIOCGWINSZ
    0x540f,      // TIOCGPGRP
    0x541b,      // FIONREAD
    0x5421,      // FIONBIO
    0x5450,      // FIONCLEX
    0x5451,      // FIOCLEX
    0x4004_9409, // FICLONE: a copy of a file that shares its blocks
    0x4020_940d, // FICLONERANGE
];

/// What `ioctl` may not do even with a GPU, whose driver needs most others: insert input into a terminal, send signals to other
/// processes.
const REFUSED_IOCTLS: &[u32] = &[
    0x5412, // TIOCSTI
    0x541c, // TIOCLINUX
    0x5423, // TIOCSETD
    0x8901, // FIOSETOWN
    0x8902, // SIOCSPGRP
];

/// What `prctl` may do: names, death signal, subreaper and resource hints of the worker's own processes.
const PRCTLS: &[libc::c_int] = &[
    libc::PR_CAPBSET_READ,
    libc::PR_GET_CHILD_SUBREAPER,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_NAME,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_PDEATHSIG,
    libc::PR_GET_SECCOMP,
    libc::PR_GET_THP_DISABLE,
    libc::PR_GET_TIMERSLACK,
    libc::PR_SET_CHILD_SUBREAPER,
    libc::PR_SET_DUMPABLE,
    libc::PR_SET_NAME,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_SET_PDEATHSIG,
    libc::PR_SET_THP_DISABLE,
    libc::PR_SET_TIMERSLACK,
    libc::PR_SET_VMA,
];

/// `RLIMIT_CORE` must not change: a process may lower it to 0, and at 0 the kernel passes core files to a program.
const CORE: u32 = 4;

/// The guard's id if the worker has a PID namespace.
const GUARD: u32 = 1;

/// The argument that queries the process's personality without a change.
const PERSONALITY_QUERY: u32 = 0xffff_ffff;

/// Socket options that give the kernel a program to run, or let a send connect.
const REFUSED_SOCKET_OPTIONS: &[(libc::c_int, libc::c_int)] = &[
    (libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
    (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
    (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
    (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
    (libc::IPPROTO_TCP, libc::TCP_ULP),
];

const SOCKET_KIND: u64 = 0xf;

/// All rules.
pub(super) fn rules(held: &Held) -> Result<Rules> {
    let mut rules = Rules::new();
    let mut allow = |call: libc::c_long, alternatives: Vec<SeccompRule>| rules.insert(number(call), alternatives);
    allow(libc::SYS_clone, vec![rule([lacks(0, NAMESPACES.unsigned_abs())?])?]);
    for (call, mode) in MODES {
        allow(*call, vec![rule([lacks(*mode, SET_ID)?])?]);
    }
    if held.ipc {
        for (call, mode) in SHARED_MODES {
            allow(*call, vec![rule([lacks(*mode, SET_ID)?])?]);
        }
    }
    for call in table::BY_ID {
        allow(*call, vec![rule([own_process(0, held.processes)?])?]);
    }
    allow(libc::SYS_setrlimit, vec![rule([condition(0, SeccompCmpOp::Ne, CORE)?])?]);
    allow(libc::SYS_prlimit64, limits(held.processes)?);
    for (call, kind) in table::BY_KIND_AND_ID {
        // Not for groups and users, whose processes include the guard.
        allow(*call, vec![rule([is(0, kind.unsigned_abs())?, own_process(1, held.processes)?])?]);
    }
    allow(libc::SYS_fcntl, vec![rule(none_of(1, REFUSED_FCNTL.iter().map(|command| command.unsigned_abs()))?)?]);
    let ioctl = if held.gpu {
        vec![rule(none_of(1, REFUSED_IOCTLS.iter().copied())?)?]
    } else {
        one_of(1, IOCTLS.iter().copied())?
    };
    allow(libc::SYS_ioctl, ioctl);
    allow(libc::SYS_prctl, one_of(0, PRCTLS.iter().map(|option| option.unsigned_abs()))?);
    allow(libc::SYS_personality, vec![rule([is(0, PERSONALITY_QUERY)?])?]);
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        allow(call, vec![rule([lacks(flags, libc::MSG_FASTOPEN.unsigned_abs())?])?]);
    }
    allow(libc::SYS_setsockopt, socket_options()?);
    // Not for datagram sockets: one of a pair can still send to any address.
    let stream = kind(1, libc::SOCK_STREAM)?;
    allow(libc::SYS_socketpair, vec![rule([is(0, libc::AF_UNIX.unsigned_abs())?, stream])?]);
    sockets(held.sockets, &mut allow)?;
    Ok(rules)
}

/// Allows the worker's own processes to query all limits, and to set all but one.
fn limits(processes: bool) -> Result<Vec<SeccompRule>> {
    // 64 bits, as the argument is an address.
    let only_asks = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let alternatives = [condition(1, SeccompCmpOp::Ne, CORE)?, only_asks].into_iter();
    let own = own_process(0, processes)?;
    alternatives.map(|alternative| rule([own.clone(), alternative])).collect()
}

/// The condition that an id belongs to the worker's own processes: in a PID namespace every id except 1, the guard; otherwise only the
/// caller itself.
fn own_process(index: u8, processes: bool) -> Result<SeccompCondition> {
    if processes { condition(index, SeccompCmpOp::Ne, GUARD) } else { is(index, 0) }
}

/// Which sockets can be made, and which calls may connect.
fn sockets(
    sockets: Sockets,
    allow: &mut impl FnMut(libc::c_long, Vec<SeccompRule>) -> Option<Vec<SeccompRule>>,
) -> Result<()> {
    let internet = |socket: libc::c_int, protocol: libc::c_int| {
        let families = [libc::AF_INET, libc::AF_INET6].into_iter();
        // Zero stands for the default protocol; other numbers could be variants of TCP.
        let pairs = families.flat_map(move |family| [(family, 0), (family, protocol)]);
        pairs.map(move |(family, protocol)| {
            rule([is(0, family.unsigned_abs())?, kind(1, socket)?, is(2, protocol.unsigned_abs())?])
        })
    };
    let tcp = || internet(libc::SOCK_STREAM, libc::IPPROTO_TCP);
    let udp = || internet(libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    match sockets {
        Sockets::None => {}
        Sockets::Local => {
            let stream = rule([is(0, libc::AF_UNIX.unsigned_abs())?, kind(1, libc::SOCK_STREAM)?])?;
            allow(libc::SYS_socket, vec![stream]);
            for call in [libc::SYS_bind, libc::SYS_listen, libc::SYS_connect] {
                allow(call, Vec::new());
            }
        }
        Sockets::Tcp => {
            allow(libc::SYS_socket, tcp().collect::<Result<_>>()?);
            allow(libc::SYS_connect, Vec::new());
        }
        Sockets::TcpAndUdp => {
            allow(libc::SYS_socket, tcp().chain(udp()).collect::<Result<_>>()?);
            allow(libc::SYS_connect, Vec::new());
        }
    }
    Ok(())
}

/// Allows all options except the refused ones. An option differs if its level or its name differs.
fn socket_options() -> Result<Vec<SeccompRule>> {
    let levels = [libc::SOL_SOCKET, libc::IPPROTO_TCP];
    let mut rules = vec![rule(none_of(1, levels.iter().map(|level| level.unsigned_abs()))?)?];
    for level in levels {
        let refused = REFUSED_SOCKET_OPTIONS.iter().filter(|(of, _)| *of == level);
        let mut conditions = vec![is(1, level.unsigned_abs())?];
        conditions.extend(none_of(2, refused.map(|(_, name)| name.unsigned_abs()))?);
        rules.push(rule(conditions)?);
    }
    Ok(rules)
}

#[expect(clippy::useless_conversion, reason = "the numbers have fewer bits on some processors")]
pub(super) fn number(call: libc::c_long) -> i64 {
    i64::from(call)
}

/// Allows a call that meets all of the conditions.
fn rule(conditions: impl IntoIterator<Item = SeccompCondition>) -> Result<SeccompRule> {
    SeccompRule::new(conditions.into_iter().collect())
}

/// Allows a call whose argument is one of the values.
fn one_of(index: u8, values: impl Iterator<Item = u32>) -> Result<Vec<SeccompRule>> {
    values.map(|value| rule([is(index, value)?])).collect()
}

/// The conditions that an argument is none of the values.
fn none_of(index: u8, values: impl Iterator<Item = u32>) -> Result<Vec<SeccompCondition>> {
    values.map(|value| condition(index, SeccompCmpOp::Ne, value)).collect()
}

fn is(index: u8, value: u32) -> Result<SeccompCondition> {
    condition(index, SeccompCmpOp::Eq, value)
}

/// The condition that an argument has none of the bits.
fn lacks(index: u8, bits: u32) -> Result<SeccompCondition> {
    condition(index, SeccompCmpOp::MaskedEq(u64::from(bits)), 0)
}

/// The condition that a socket is of this kind, with any flags.
fn kind(index: u8, kind: libc::c_int) -> Result<SeccompCondition> {
    condition(index, SeccompCmpOp::MaskedEq(SOCKET_KIND), kind.unsigned_abs())
}

/// A condition on the lower 32 bits of an argument.
fn condition(index: u8, is: SeccompCmpOp, value: u32) -> Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, is, u64::from(value))
}
