//! The system calls that a confined worker may make with any arguments, in groups, each with its reason.
//!
//! The table was made by tracing CPython's own tests of `os`, `subprocess`, `multiprocessing`, `asyncio` and `sqlite3`, and numpy,
//! Torch, onnxruntime, scikit-learn and matplotlib; calls that their C library would make on other kernels were added. Calls for which
//! only some arguments are allowed are in `super::conditions`. All others fail with EPERM.

/// Calls that are allowed for one reason, which is in the comment above them.
type Group = &'static [libc::c_long];

// Calls newer than Linux 5.1 have one number on every processor; libc does not name all of them.
const MAP_SHADOW_STACK: libc::c_long = 453;
const FUTEX_WAKE: libc::c_long = 454;
const FUTEX_WAIT: libc::c_long = 455;
const FUTEX_REQUEUE: libc::c_long = 456;

/// Allowed on every machine.
pub(super) const ALLOWED: &[Group] = &[
    // Memory of the process itself.
    &[
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_mincore,
        libc::SYS_mlock,
        libc::SYS_mlock2,
        libc::SYS_mlockall,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_mseal,
        libc::SYS_msync,
        libc::SYS_munlock,
        libc::SYS_munlockall,
        libc::SYS_munmap,
        libc::SYS_membarrier,
        libc::SYS_pkey_alloc,
        libc::SYS_pkey_free,
        libc::SYS_pkey_mprotect,
        MAP_SHADOW_STACK,
    ],
    // Placement of memory on machines with several NUMA nodes: Torch and OpenMP query it.
    &[libc::SYS_get_mempolicy, libc::SYS_mbind, libc::SYS_set_mempolicy],
    // Anonymous files in memory: libffi keeps its closures there.
    &[libc::SYS_memfd_create, libc::SYS_memfd_secret],
    // Threads, and how they wait for each other.
    &[
        libc::SYS_futex,
        libc::SYS_futex_waitv,
        FUTEX_WAKE,
        FUTEX_WAIT,
        FUTEX_REQUEUE,
        libc::SYS_gettid,
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
    ],
    // The worker's own processes: start, wait, group, end.
    &[
        libc::SYS_execve,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_getpgid,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_getsid,
        libc::SYS_restart_syscall,
        libc::SYS_setpgid,
        libc::SYS_setsid,
        libc::SYS_wait4,
        libc::SYS_waitid,
    ],
    // Signals to its own processes: Landlock's scope keeps them from others (Linux 6.12).
    &[
        libc::SYS_kill,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_tgkill,
        libc::SYS_tkill,
    ],
    // Handling signals.
    &[
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigpending,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_sigaltstack,
        libc::SYS_signalfd4,
    ],
    // User and group ids: it has no privilege to change them to others.
    &[
        libc::SYS_capget,
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getgroups,
        libc::SYS_getresgid,
        libc::SYS_getresuid,
        libc::SYS_getuid,
    ],
    // Resource limits and scheduling: queries, and lower limits for itself.
    &[
        libc::SYS_getcpu,
        libc::SYS_getpriority,
        libc::SYS_getrusage,
        libc::SYS_ioprio_get,
        libc::SYS_sched_get_priority_max,
        libc::SYS_sched_get_priority_min,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_getattr,
        libc::SYS_sched_getparam,
        libc::SYS_sched_getscheduler,
        libc::SYS_sched_rr_get_interval,
        libc::SYS_sched_yield,
        libc::SYS_sysinfo,
        libc::SYS_times,
        libc::SYS_uname,
    ],
    // Clocks, sleeps and timers.
    &[
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_getitimer,
        libc::SYS_gettimeofday,
        libc::SYS_nanosleep,
        libc::SYS_setitimer,
        libc::SYS_timer_create,
        libc::SYS_timer_delete,
        libc::SYS_timer_getoverrun,
        libc::SYS_timer_gettime,
        libc::SYS_timer_settime,
        libc::SYS_timerfd_create,
        libc::SYS_timerfd_gettime,
        libc::SYS_timerfd_settime,
    ],
    // Random numbers.
    &[libc::SYS_getrandom],
    // Files by path: Landlock decides which.
    &[
        libc::SYS_chdir,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fchdir,
        libc::SYS_fchownat,
        libc::SYS_getcwd,
        libc::SYS_linkat,
        libc::SYS_newfstatat,
        libc::SYS_readlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_statfs,
        libc::SYS_statx,
        libc::SYS_symlinkat,
        libc::SYS_truncate,
        libc::SYS_umask,
        libc::SYS_unlinkat,
        libc::SYS_utimensat,
    ],
    // Open files.
    &[
        libc::SYS_close,
        libc::SYS_close_range,
        libc::SYS_copy_file_range,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_fadvise64,
        libc::SYS_fallocate,
        libc::SYS_fchown,
        libc::SYS_fdatasync,
        libc::SYS_flock,
        libc::SYS_fstat,
        libc::SYS_fstatfs,
        libc::SYS_fsync,
        libc::SYS_ftruncate,
        libc::SYS_getdents64,
        libc::SYS_lseek,
        libc::SYS_pread64,
        libc::SYS_preadv,
        libc::SYS_preadv2,
        libc::SYS_pwrite64,
        libc::SYS_pwritev,
        libc::SYS_pwritev2,
        libc::SYS_read,
        libc::SYS_readahead,
        libc::SYS_readv,
        libc::SYS_sendfile,
        libc::SYS_splice,
        libc::SYS_sync_file_range,
        libc::SYS_syncfs,
        libc::SYS_tee,
        libc::SYS_vmsplice,
        libc::SYS_write,
        libc::SYS_writev,
    ],
    // Reading extended attributes: `shutil.copy2` fails without it. Landlock does not restrict it; a root of its own does.
    &[
        libc::SYS_fgetxattr,
        libc::SYS_flistxattr,
        libc::SYS_getxattr,
        libc::SYS_lgetxattr,
        libc::SYS_listxattr,
        libc::SYS_llistxattr,
    ],
    // Pipes and events.
    &[libc::SYS_eventfd2, libc::SYS_pipe2],
    // Waiting for several files at once.
    &[
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_ppoll,
        libc::SYS_pselect6,
    ],
    // Sockets that it has: its listener, pairs, and those that the conditions allow.
    &[
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_recvfrom,
        libc::SYS_recvmmsg,
        libc::SYS_recvmsg,
        libc::SYS_shutdown,
    ],
    // Restricting itself further: the worker forbids its plugin to signal the guard.
    &[libc::SYS_landlock_add_rule, libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self],
];

/// Older forms of the calls above, which newer processors do not have.
#[cfg(target_arch = "x86_64")]
pub(super) const OLDER: &[Group] = &[
    // The processor's registers for threads.
    &[libc::SYS_arch_prctl],
    // Older forms of what is allowed above.
    &[
        libc::SYS_access,
        libc::SYS_alarm,
        libc::SYS_chown,
        libc::SYS_dup2,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
        libc::SYS_eventfd,
        libc::SYS_fork,
        libc::SYS_futimesat,
        libc::SYS_getdents,
        libc::SYS_getpgrp,
        libc::SYS_getrlimit,
        libc::SYS_lchown,
        libc::SYS_link,
        libc::SYS_lstat,
        libc::SYS_pause,
        libc::SYS_pipe,
        libc::SYS_poll,
        libc::SYS_readlink,
        libc::SYS_rename,
        libc::SYS_rmdir,
        libc::SYS_select,
        libc::SYS_signalfd,
        libc::SYS_stat,
        libc::SYS_symlink,
        libc::SYS_time,
        libc::SYS_unlink,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_vfork,
    ],
];

#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLDER: &[Group] = &[
    // Older forms of what is allowed above.
    &[libc::SYS_getrlimit],
];

/// Objects that processes share by number or name: allowed if the worker has an IPC namespace of its own.
pub(super) const SHARED_OBJECTS: &[Group] = &[
    // System V memory, queues and semaphores, and POSIX queues.
    &[
        libc::SYS_mq_getsetattr,
        libc::SYS_mq_notify,
        libc::SYS_mq_timedreceive,
        libc::SYS_mq_timedsend,
        libc::SYS_mq_unlink,
        libc::SYS_msgctl,
        libc::SYS_msgrcv,
        libc::SYS_msgsnd,
        libc::SYS_semctl,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_shmdt,
    ],
];

/// Changes and watches of files that Landlock does not restrict: allowed if the worker's root contains only what is granted.
pub(super) const PRIVATE_ROOT: &[Group] = &[
    // Changing extended attributes.
    &[
        libc::SYS_fremovexattr,
        libc::SYS_fsetxattr,
        libc::SYS_lremovexattr,
        libc::SYS_lsetxattr,
        libc::SYS_removexattr,
        libc::SYS_setxattr,
    ],
    // Watching directories.
    &[libc::SYS_inotify_add_watch, libc::SYS_inotify_init1, libc::SYS_inotify_rm_watch],
];

/// Scheduling of processes, by id: allowed for the worker's own processes.
pub(super) const BY_ID: &[libc::c_long] =
    &[libc::SYS_sched_setaffinity, libc::SYS_sched_setattr, libc::SYS_sched_setparam, libc::SYS_sched_setscheduler];

/// The same for calls whose first argument is the kind of id.
pub(super) const BY_KIND_AND_ID: &[(libc::c_long, libc::c_int)] =
    &[(libc::SYS_setpriority, libc::PRIO_PROCESS as libc::c_int), (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS)];

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// Fail with ENOSYS, as on a kernel without them: the C library then falls back to a call that a filter can check.
pub(super) const UNKNOWN: &[libc::c_long] = &[libc::SYS_clone3, libc::SYS_openat2];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_call_stands_once() {
        let mut seen = BTreeSet::new();
        for group in [ALLOWED, OLDER, SHARED_OBJECTS, PRIVATE_ROOT].into_iter().flatten() {
            for call in *group {
                assert!(seen.insert(*call), "{call} occurs twice");
            }
        }
        for call in BY_ID.iter().chain(UNKNOWN) {
            assert!(seen.insert(*call), "{call} occurs twice");
        }
    }
}
