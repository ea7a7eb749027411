"""Tries every known escape from a confined worker. Each escape is a function that returns None if it failed, or a text that says what it
reached. An error of the system means that it failed.

`target` has the targets on the host: `pid` and `sibling` (processes), `port` and `udp` (on 127.0.0.1), `stream`, `datagram`
(Unix sockets by path), `abstract` (one by name), `secret` (a file) in `dir`, `shm`, `sem`, `msg` (System V ids), `queue` (a POSIX
queue), `memory` (a file in /dev/shm); and `core`, how large the host may let core files be (none for any size).
"""

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
FAST_OPEN = 0x20000000
NEW_USER, NEW_NS, NEW_PID, NEW_NET = 0x10000000, 0x00020000, 0x20000000, 0x40000000

NUMBERS = {  # x86_64, aarch64
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "prlimit64": (302, 261), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "semctl": (66, 191), "semop": (65, 193), "msgrcv": (70, 188), "msgget": (68, 186), "mq_open": (240, 180),
    "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "mknod": (133, None), "mknodat": (259, 33),
    "open": (2, None), "openat": (257, 56), "creat": (85, None), "mkdirat": (258, 34), "openat2": (437, 437),
    "unshare": (272, 97), "setns": (308, 268), "clone": (56, 220), "clone3": (435, 435), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "execveat": (322, 281), "reboot": (169, 142), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "sethostname": (170, 161), "swapon": (167, 224), "init_module": (175, 105),
    "kexec_load": (246, 104), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116), "fanotify_init": (300, 262),
    "personality": (135, 92), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "seccomp": (317, 277),
    "capset": (126, 91), "setuid": (105, 146), "setgroups": (116, 159), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "lookup_dcookie": (212, 18), "get_robust_list": (274, 100), "process_mrelease": (448, 448), "prctl": (157, 167),
}


def call(name, *arguments):
    """A system call by its name; raises `OSError`."""
    number = NUMBERS[name][0 if X86 else 1]
    if number is None:
        raise OSError(38, "there is no such call on this processor")
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), "%s: %s" % (name, os.strerror(ctypes.get_errno())))
    return result


def any_call(tries):
    """Makes these system calls; returns the first that succeeded."""
    for attempt in tries:
        try:
            call(*attempt)
        except OSError:
            continue
        return "%s went through" % attempt[0]
    return None


def in_child(function):
    """The exit status of a child process, or the signal that ended it as a negative number."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            os._exit(77)
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def listener():
    """The socket that the host handed over."""
    for fd in range(3, 1024):
        try:
            found = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        if found.family == socket.AF_INET and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return found
        found.close()
    raise OSError(2, "no listener")


def accepted():
    """A connection from the host: the one on which this call arrived."""
    for fd in range(3, 1024):
        try:
            found = socket.socket(fileno=os.dup(fd))
            if found.family == socket.AF_INET and found.getpeername():
                return found
            found.close()
        except OSError:
            continue
    raise OSError(2, "no connection")


# Other processes.

def confined_prlimit_of_the_host(t):
    new = (ctypes.c_ulong * 2)(1024, 4096)
    for pid in (t["pid"], t["sibling"]):
        call("prlimit64", pid, 7, new, 0)
        return "set a limit of process %d" % pid


def confined_prlimit_of_the_guard(t):
    call("prlimit64", os.getppid(), 7, (ctypes.c_ulong * 2)(3, 3), 0)
    return "set a limit of the guard"


def confined_prlimit_of_process_1(t):
    if os.getppid() == 1:
        return None
    call("prlimit64", 1, 7, None, (ctypes.c_ulong * 2)())
    return "read a limit of process 1"


def confined_renice_the_host(t):
    call("setpriority", 0, t["pid"], 19)
    return "reniced the host"


def confined_renice_all_of_the_user(t):
    call("setpriority", 2, os.getuid(), 1)
    return "reniced every process of the user"


def confined_renice_the_guard(t):
    call("setpriority", 0, os.getppid(), 19)
    return "reniced the guard"


def confined_renice_the_guards_group(t):
    call("setpriority", 1, os.getpgid(os.getppid()), 1)
    return "reniced the guard's group"


def confined_pin_the_guard(t):
    call("sched_setaffinity", os.getppid(), 8, ctypes.byref(ctypes.c_ulong(1)))
    return "pinned the guard"


def confined_idle_the_guard(t):
    call("sched_setscheduler", os.getppid(), 5, ctypes.byref(ctypes.c_int(0)))
    return "made the guard idle"


def confined_ioprio_of_the_guard(t):
    call("ioprio_set", 1, os.getppid(), 3 << 13)
    return "changed the guard's I/O priority"


def confined_pin_the_host(t):
    call("sched_setaffinity", t["pid"], 8, ctypes.byref(ctypes.c_ulong(1)))
    return "pinned the host"


def confined_idle_the_host(t):
    call("sched_setscheduler", t["pid"], 5, ctypes.byref(ctypes.c_int(0)))
    return "made the host idle"


def confined_ioprio_of_the_host(t):
    call("ioprio_set", 1, t["pid"], 3 << 13)
    return "changed the host's I/O priority"


def confined_signal_the_host(t):
    os.kill(t["pid"], 0)
    return "may signal the host"


def confined_signal_a_sibling(t):
    os.kill(t["sibling"], 0)
    return "may signal another worker"


def confined_signal_by_thread(t):
    call("tgkill", t["pid"], t["pid"], 0)
    return "may signal a thread of the host"


def confined_signal_with_a_value(t):
    call("rt_sigqueueinfo", t["pid"], 10, (ctypes.c_char * 128)(*struct.pack("iii", 10, 0, -1)))
    return "sent a signal with a value"


def confined_signal_by_a_pidfd(t):
    call("pidfd_send_signal", call("pidfd_open", t["pid"], 0), 0, None, 0)
    return "may signal the host by a handle"


def confined_signal_by_a_file(t):
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETOWN, t["pid"])
    return "has the kernel signal the host when a pipe is written to"


def confined_pidfd_getfd(t):
    call("pidfd_getfd", call("pidfd_open", t["pid"], 0), 0, 0)
    return "took a descriptor of the host's"


def confined_ptrace(t):
    call("ptrace", 0x4206, t["pid"], 0, 0)
    return "traces the host"


def confined_ptrace_the_guard(t):
    call("ptrace", 0x4206, os.getppid(), 0, 0)
    return "traces the guard"


def confined_read_memory(t):
    space = ctypes.create_string_buffer(8)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(space), 8)
    call("process_vm_readv", t["pid"], here, 1, (ctypes.c_void_p * 2)(0x400000, 8), 1, 0)
    return "read the host's memory"


def confined_write_memory(t):
    space = ctypes.create_string_buffer(8)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(space), 8)
    call("process_vm_writev", t["pid"], here, 1, (ctypes.c_void_p * 2)(0x400000, 8), 1, 0)
    return "wrote to the host's memory"


def confined_memory_by_file(t):
    for pid in (t["pid"], t["sibling"], os.getppid()):
        try:
            with open("/proc/%d/mem" % pid, "r+b", 0):
                return "opened the memory of %d" % pid
        except OSError:
            pass
    return None


def confined_own_memory_by_file(t):
    open("/proc/self/mem", "r+b", 0)
    return "may write to its own memory by file, past what is read-only"


def confined_environment_of_the_host(t):
    return open("/proc/%d/environ" % t["pid"], "rb").read() and "read the host's environment"


def confined_root_of_the_host(t):
    return open("/proc/%d/root%s" % (t["pid"], t["secret"])).read()


def confined_descriptors_of_the_host(t):
    # Without a PID namespace the numbers of descriptors can be seen, as documented, but not their targets.
    for name in os.listdir("/proc/%d/fd" % t["pid"]):
        try:
            return "sees that the host has %s open" % os.readlink("/proc/%d/fd/%s" % (t["pid"], name))
        except OSError:
            pass
    return None


def confined_compare(t):
    call("kcmp", t["pid"], os.getpid(), 0, 0, 0)
    return "compared itself with the host"


def confined_advise_memory(t):
    call("process_madvise", call("pidfd_open", t["pid"], 0), (ctypes.c_void_p * 2)(0, 4096), 1, 21, 0)
    return "advised the kernel on the host's memory"


def confined_move_pages(t):
    call("move_pages", t["pid"], 0, None, None, None, 0)
    return "moves the host's pages"


def confined_robust_list(t):
    call("get_robust_list", t["pid"], ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_size_t()))
    return "read where the host keeps its locks"


# The network.

def confined_fast_open_on_the_listener(t):
    sock = listener()
    sock.shutdown(socket.SHUT_RDWR)
    sock.settimeout(None)
    return "sent %d bytes" % sock.sendto(b"hello", FAST_OPEN, ("127.0.0.1", t["port"]))


def confined_fast_open_with_sendmsg(t):
    sock = listener()
    return "sent %d bytes" % sock.sendmsg([b"hello"], [], FAST_OPEN, ("127.0.0.1", t["port"]))


def confined_connect_the_listener(t):
    sock = listener()
    sock.shutdown(socket.SHUT_RDWR)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", t["port"]))
    return "connected by the listener"


def confined_fast_open_option(t):
    sock = listener()
    sock.shutdown(socket.SHUT_RDWR)
    sock.setsockopt(socket.IPPROTO_TCP, 30, 1)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", t["port"]))
    return "connected by an option"


def confined_connect_an_accepted_connection(t):
    sock = accepted()
    # AF_UNSPEC dissolves a connection.
    address = ctypes.create_string_buffer(16)
    libc.connect(sock.fileno(), address, 16)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", t["port"]))
    return "connected by an accepted connection"


def confined_tcp(t):
    socket.create_connection(("127.0.0.1", t["port"]), 5)
    return "connected"


def confined_tcp_by_ipv6(t):
    with socket.socket(socket.AF_INET6) as sock:
        sock.connect(("::ffff:127.0.0.1", t["port"]))
    return "connected"


def confined_udp(t):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return "sent %d bytes" % sock.sendto(b"hello", ("127.0.0.1", t["udp"]))


def confined_multipath_tcp(t):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
        sock.connect(("127.0.0.1", t["port"]))
    return "connected"


def confined_bind_a_port(t):
    with socket.socket(socket.AF_INET) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
    return "serves a port of its own"


def _family(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()
    return "has a socket of family %d" % family


def confined_netlink(t):
    return _family(socket.AF_NETLINK, socket.SOCK_RAW)


def confined_packet(t):
    return _family(socket.AF_PACKET, socket.SOCK_RAW)


def confined_raw(t):
    return _family(socket.AF_INET, socket.SOCK_RAW, 1)


def confined_ping(t):
    return _family(socket.AF_INET, socket.SOCK_DGRAM, 1)


def confined_vsock(t):
    return _family(40, socket.SOCK_STREAM)


def confined_kernel_crypto(t):
    return _family(38, socket.SOCK_SEQPACKET)


def confined_bluetooth_can_and_others(t):
    for family in (29, 31, 9, 4, 5, 41, 44):
        try:
            return _family(family, socket.SOCK_RAW)
        except OSError:
            pass
    return None


def confined_sctp(t):
    return _family(socket.AF_INET, socket.SOCK_STREAM, 132)


def confined_names(t):
    # Nothing leaves the machine: a packet that could be sent would go to this process.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", t["udp"]))
        sock.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01")
    return "asked for a name"


def confined_unix_by_path(t):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(t["stream"])
    return "connected to a service by its path"


def confined_unix_datagram(t):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", t["datagram"])
    return "sent a datagram to a service"


def confined_datagram_out_of_a_pair(t):
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"hello", t["datagram"])
    return "sent a datagram out of a pair"


def confined_unix_by_abstract_name(t):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + t["abstract"])
    return "connected to a service by an abstract name"


def confined_unix_sequential(t):
    return _family(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def confined_program_for_the_kernel(t):
    one, _ = socket.socketpair()
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFF))
    one.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))
    return "gave the kernel a program for a socket"


# Objects that processes share.

def confined_system_v_memory(t):
    call("shmat", t["shm"], 0, 0)
    return "attached another's memory"


def confined_system_v_memory_removed(t):
    call("shmctl", t["shm"], 0, None)
    return "removed another's memory"


def confined_system_v_semaphore(t):
    call("semctl", t["sem"], 0, 12, 0)
    return "read another's semaphore"


def confined_system_v_queue(t):
    call("msgrcv", t["msg"], ctypes.create_string_buffer(64), 32, 0, 0o4000)
    return "took another's message"


def confined_posix_queue(t):
    call("mq_open", ctypes.c_char_p(t["queue"].encode()), os.O_RDWR, 0, None)
    return "opened another's queue"


def confined_posix_memory(t):
    return open(t["memory"]).read()


# Files.

def confined_read_the_secret(t):
    return open(t["secret"]).read()


def confined_list_the_directory(t):
    found = os.listdir(t["dir"])
    return found and "listed it: %s" % found


def confined_stat_the_secret(t):
    return "its size is %d" % os.stat(t["secret"]).st_size


def confined_attributes_of_the_secret(t):
    return "its attributes are %s" % os.listxattr(t["secret"])


def confined_watch_the_directory(t):
    watch = call("inotify_init1", 0)
    call("inotify_add_watch", watch, ctypes.c_char_p(t["dir"].encode()), 0xFFF)
    return "watches it"


def confined_watch_by_fcntl(t):
    fd = os.open("/usr/lib", os.O_RDONLY)
    fcntl.fcntl(fd, 1026, 0x3F)
    return "watches a directory by fcntl"


def confined_watch_everything(t):
    call("fanotify_init", 0, 0)
    return "watches the file system"


def confined_lease(t):
    fd = os.open(sys.executable, os.O_RDONLY)
    fcntl.fcntl(fd, 1024, fcntl.F_RDLCK)
    return "holds up whoever writes to a program"


def confined_mode_of_the_secret(t):
    os.chmod(t["secret"], 0o777)
    return "changed its mode"


def confined_times_of_the_secret(t):
    os.utime(t["secret"], (0, 0))
    return "changed its times"


def confined_symbolic_link(t):
    os.symlink(t["secret"], os.path.join(os.environ["TMPDIR"], "link"))
    return open(os.path.join(os.environ["TMPDIR"], "link")).read()


def confined_hard_link(t):
    os.link(t["secret"], os.path.join(os.environ["TMPDIR"], "hard"))
    return "has a second name for it"


def confined_rename(t):
    os.rename(t["secret"], os.path.join(os.environ["TMPDIR"], "mine"))
    return "moved it away"


def confined_by_a_child(t):
    return subprocess.run(["cat", t["secret"]], capture_output=True, text=True).stdout


def confined_open_by_handle(t):
    call("open_by_handle_at", -100, (ctypes.c_char * 64)(*struct.pack("Ii", 8, 1)), 0)
    return "opened a file by its handle"


def confined_set_id_bits(t):
    path = os.path.join(os.environ["TMPDIR"], "program")
    open(path, "w").close()
    name = ctypes.c_char_p(path.encode())
    tries = [
        ("chmod", name, 0o4755), ("fchmodat", -100, name, 0o2755), ("fchmodat2", -100, name, 0o4755, 0),
        ("openat", -100, ctypes.c_char_p((path + "1").encode()), os.O_CREAT | os.O_WRONLY, 0o4755),
        ("open", ctypes.c_char_p((path + "2").encode()), os.O_CREAT | os.O_WRONLY, 0o4755),
        ("creat", ctypes.c_char_p((path + "3").encode()), 0o4755),
        ("mkdirat", -100, ctypes.c_char_p((path + "4").encode()), 0o2755),
        ("mknodat", -100, ctypes.c_char_p((path + "5").encode()), 0o104755, 0),
        ("mknod", ctypes.c_char_p((path + "6").encode()), 0o104755, 0),
    ]
    for attempt in tries:
        try:
            call(*attempt)
        except OSError:
            continue
        for entry in os.scandir(os.environ["TMPDIR"]):
            if entry.stat(follow_symlinks=False).st_mode & 0o6000:
                return "%s made %s run as its owner" % (attempt[0], entry.name)
    return None


def confined_device(t):
    path = ctypes.c_char_p(os.path.join(os.environ["TMPDIR"], "disk").encode())
    call("mknodat", -100, path, 0o060600, os.makedev(254, 0))
    return "made a device"


def confined_devices_of_the_machine(t):
    for path in ("/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/ptmx"):
        try:
            os.close(os.open(path, os.O_RDONLY))
            return "opened %s" % path
        except OSError:
            pass
    return None


def confined_settings_of_the_kernel(t):
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/mm/transparent_hugepage/enabled",
                 "/proc/self/oom_score_adj", "/proc/self/uid_map", "/proc/self/loginuid"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            return "opened %s for writing" % path
        except OSError:
            pass
    return None


def confined_inherited_descriptors(t):
    for fd in range(0, 1024):
        try:
            where = os.readlink("/proc/self/fd/%d" % fd)
        except OSError:
            continue
        if where.startswith("/") and not where.startswith(("/dev/null", os.environ["TMPDIR"], "/proc/", "/memfd")):
            return "has %s open" % where
    return None


def confined_resolve_beneath(t):
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, 0)
    call("openat2", -100, ctypes.c_char_p(b"/dev/null"), how, 24)
    return "opened a file by a call whose flags nobody can read"


# Namespaces and the rest of the kernel.

def confined_user_namespace(t):
    call("unshare", NEW_USER)
    return "made a user namespace"


def confined_namespaces_by_clone(t):
    for flags in (NEW_USER, NEW_NS, NEW_PID, NEW_NET):
        try:
            pid = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
        except OSError:
            continue
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return "cloned into a namespace"
    return None


def confined_namespaces_by_clone3(t):
    arguments = (ctypes.c_uint64 * 11)(NEW_USER, 0, 0, 0, signal.SIGCHLD)
    pid = call("clone3", arguments, 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "cloned into a namespace"


def confined_join_a_namespace(t):
    for kind in ("user", "mnt", "net", "pid"):
        try:
            fd = os.open("/proc/%d/ns/%s" % (os.getppid(), kind), os.O_RDONLY)
            call("setns", fd, 0)
            return "joined a namespace"
        except OSError:
            pass
    return None


def confined_mounts(t):
    tries = [
        ("mount", ctypes.c_char_p(b"none"), ctypes.c_char_p(b"/tmp"), ctypes.c_char_p(b"tmpfs"), 0, None),
        ("umount2", ctypes.c_char_p(b"/proc"), 2), ("pivot_root", ctypes.c_char_p(b"/"), ctypes.c_char_p(b"/")),
        ("chroot", ctypes.c_char_p(b"/usr")), ("open_tree", -100, ctypes.c_char_p(b"/usr"), 1),
        ("fsopen", ctypes.c_char_p(b"tmpfs"), 0), ("move_mount", -100, None, -100, None, 0),
        ("mount_setattr", -100, ctypes.c_char_p(b"/usr"), 0, (ctypes.c_uint64 * 4)(), 32),
    ]
    return any_call(tries)


def confined_calls_of_administrators(t):
    space = ctypes.create_string_buffer(4096)
    tries = [
        ("reboot", 0xFEE1DEAD, 672274793, 0, 0), ("settimeofday", None, space), ("clock_settime", 0, space), ("sethostname", space, 1),
        ("swapon", space, 0), ("init_module", space, 0, space), ("kexec_load", 0, 0, None, 0), ("acct", None),
        ("quotactl", 0, None, 0, None), ("syslog", 3, space, 4096), ("iopl", 3), ("ioperm", 0, 1, 1), ("modify_ldt", 0, space, 16),
        ("capset", space, space), ("setgroups", 0, None), ("lookup_dcookie", 0, 0, space, 16), ("personality", 0x0040000),
    ]
    return any_call(tries)


def confined_io_uring(t):
    call("io_uring_setup", 1, ctypes.create_string_buffer(256))
    return "has a ring"


def confined_user_faults(t):
    call("userfaultfd", 1)
    return "handles page faults"


def confined_keys(t):
    return any_call([
        ("keyctl", 0, -4, 0),
        ("request_key", ctypes.c_char_p(b"user"), ctypes.c_char_p(b"x"), None, 0),
        ("add_key", ctypes.c_char_p(b"user"), ctypes.c_char_p(b"x"), ctypes.c_char_p(b"y"), 1, -4),
    ])


def confined_bpf(t):
    call("bpf", 0, ctypes.create_string_buffer(128), 128)
    return "made a map"


def confined_performance_events(t):
    event = ctypes.create_string_buffer(struct.pack("II", 1, 128), 128)
    call("perf_event_open", event, 0, -1, -1, 0)
    return "counts events"


def confined_program_in_memory(t):
    fd = os.memfd_create("program")
    os.write(fd, open("/bin/true", "rb").read())

    def run():
        call("execveat", fd, ctypes.c_char_p(b""), None, None, 0x1000)

    return "ran a program without a file" if in_child(run) == 0 else None


def confined_type_into_a_terminal(t):
    for fd in range(3):
        try:
            fcntl.ioctl(fd, 0x5412, b"x")
            return "typed into a terminal"
        except OSError as error:
            if error.errno not in (1, 13):
                return "asked the kernel to: %s" % error
    return None


def confined_calls_by_other_numbers(t):
    """getpid by the 32-bit ABI and by the x32 ABI, whose numbers a filter for the processor's own ABI does not check."""
    if not X86:
        return None
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # mov eax, 20; int 0x80; ret
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    old = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def run():
        os._exit(0 if old() > 0 else 78)

    if in_child(run) == 0:
        return "made a 32-bit call"
    libc.syscall.restype = ctypes.c_long
    return "made an x32 call" if libc.syscall(ctypes.c_long(0x40000000 + 39)) > 0 else None


def confined_set_id_programs(t):
    for path in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/newgrp"):
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            break
    else:
        path = "/bin/true"
    found = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    lines = dict(line.split(":\t", 1) for line in found.splitlines() if ":\t" in line)
    if lines["NoNewPrivs"] != "1" or int(lines["CapBnd"], 16) or int(lines["CapPrm"], 16):
        return "may gain privileges: %s" % lines
    return None


def confined_core_dump(t):
    import resource

    # Not 0, with which a core file is still passed to the program in the machine's `core_pattern`. Only an administrator can
    # raise a hard limit of 0.
    could_be_raised = t["core"] != 0
    if resource.getrlimit(resource.RLIMIT_CORE) not in [(1, 1)] + ([] if could_be_raised else [(0, 0)]):
        return "may leave core files, or have them sent: %s" % (resource.getrlimit(resource.RLIMIT_CORE),)

    pid = os.fork()
    if pid == 0:
        os.chdir(os.environ["TMPDIR"])
        os.kill(os.getpid(), signal.SIGSEGV)
        os._exit(77)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) or could_be_raised and os.WCOREDUMP(status):
        return "had a core made: %s" % status
    left = [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("core")]
    return left and "left %s" % left


def confined_core_limit(t):
    import resource

    now = resource.getrlimit(resource.RLIMIT_CORE)
    # One address of the new limit has lower 32 bits that are zero, so a filter that checks 32 bits would take it for a query.
    at = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(at))
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p] + [ctypes.c_long] * 5
    fixed = libc.mmap(1 << 32, mmap.PAGESIZE, 3, 0x100022, -1, 0)
    for low in (address, fixed):
        for pid in (0, os.getpid()):
            try:
                call("prlimit64", pid, resource.RLIMIT_CORE, ctypes.c_void_p(low), None)
            except OSError:
                pass
    for lower in ((0, 0), (0, now[1])):
        try:
            resource.setrlimit(resource.RLIMIT_CORE, lower)
        except (OSError, ValueError):
            pass
    found = resource.getrlimit(resource.RLIMIT_CORE)
    return found != now and "set the limit of core files from %s to %s" % (now, found)


def confined_limits_raised(t):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    return "raised a limit"


def confined_another_filter(t):
    call("seccomp", 2, 0, None)
    return "may ask for a filter"


def confined_become_another(t):
    call("setuid", 12345 if os.getuid() == 0 else 0)
    return "became another user"


def confined_become_traceable(t):
    libc.prctl.restype = ctypes.c_int
    return "let everyone trace it" if libc.prctl(0x59616D61, ctypes.c_long(-1), 0, 0, 0) == 0 else None


ALONE = [
    "confined_fast_open_on_the_listener", "confined_fast_open_with_sendmsg", "confined_connect_the_listener", "confined_fast_open_option",
    "confined_connect_an_accepted_connection",
]
"""The escapes that break the worker's own sockets, so that it cannot serve any more."""

NEEDS_ROOT = {
    "confined_stat_the_secret", "confined_attributes_of_the_secret", "confined_mode_of_the_secret", "confined_times_of_the_secret",
}
"""The escapes that only a root directory of its own prevents."""


class Escapes:
    def execute(self, target, skip=()):
        """Tries all of them; returns the results by name."""
        found = {}
        for name, function in sorted(globals().items()):
            if not name.startswith("confined_") or name in skip or name in ALONE:
                continue
            try:
                found[name] = function(target) or None
            except (OSError, AttributeError, ValueError):
                found[name] = None
        return found

    def alone(self):
        return ALONE

    def one(self, name, target):
        """Tries one of them."""
        try:
            return globals()[name](target)
        except OSError:
            return None

    def needs_root(self):
        return sorted(NEEDS_ROOT)

    def daemon(self, seconds):
        """Starts a process that has left its parent, its group and its session, and has no mark. Returns its own process
        id."""
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setpgid(0, 0)
                os.write(write, b"%d" % os.getpid())
                os.execve("/bin/sleep", ["sleep", str(seconds)], {})
            os._exit(0)
        os.wait()
        return int(os.read(read, 20))

    def hop(self, seconds=86399):
        """Forks and exits, again and again, faster than processes can be listed."""
        if os.fork() == 0:
            os.setsid()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if os.fork():
                    os._exit(0)
                time.sleep(0.0002)
            os._exit(0)
        return True


def works_multiprocessing(method):
    import multiprocessing

    context = multiprocessing.get_context(method)
    lock, queue, value = context.Lock(), context.Queue(), context.Value("i", 0)
    workers = [context.Process(target=_count, args=(lock, queue, value)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(queue.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    with context.Pool(2) as pool:
        squares = pool.map(_square, range(4))
    with context.Manager() as manager:
        shared = manager.dict()
        worker = context.Process(target=_note, args=(shared,))
        worker.start()
        worker.join(60)
        noted = dict(shared)
    return [found, value.value, squares, noted]


def _count(lock, queue, value):
    with lock:
        value.value += 1
        queue.put(1)


def _square(number):
    return number * number


def _note(shared):
    shared["here"] = True


class Works:
    """Ordinary use of libraries."""

    def multiprocessing(self, method):
        return works_multiprocessing(method)

    def shared_memory(self):
        from multiprocessing import shared_memory

        memory = shared_memory.SharedMemory(create=True, size=1 << 20)
        memory.buf[:4] = b"here"
        again = shared_memory.SharedMemory(memory.name)
        found = bytes(again.buf[:4]).decode()
        again.close()
        memory.close()
        memory.unlink()
        return found

    def futures(self):
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2) as pool:
            return list(pool.map(_square, range(4)))

    def asyncio(self):
        import asyncio

        async def work():
            echo = await asyncio.create_subprocess_exec("echo", "here", stdout=asyncio.subprocess.PIPE)
            text = (await echo.communicate())[0].decode().strip()
            server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), "/tmp/server")
            reader, writer = await asyncio.open_unix_connection("/tmp/server")
            ended = await reader.read()
            writer.close()
            server.close()
            return [text, ended.decode(), await asyncio.to_thread(_square, 3)]

        return asyncio.run(work())

    def files(self):
        import shutil
        import sqlite3
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(place, "data.db")
            base = sqlite3.connect(path)
            base.execute("pragma journal_mode=wal")
            base.execute("create table t (x)")
            base.execute("insert into t values (1)")
            base.commit()
            base.close()
            shutil.copy2(path, path + ".copy")
            shutil.copytree(place, place + "2")
            with open("/tmp/note", "w") as file:
                file.write("x")
            return sorted(os.listdir(place))

    def threads(self):
        found = []
        workers = [threading.Thread(target=found.append, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        os.nice(0)
        return sorted(found)
