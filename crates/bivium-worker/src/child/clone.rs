//! Makes a child that runs steps of its own, as entering a sandbox, before its program, without copying the host's memory.
//!
//! The child is made by `clone` with `CLONE_VM` and `CLONE_VFORK`, as in the C library's `posix_spawn`: it uses the host's
//! memory, with a stack of its own, and the thread that started it waits until the child's program runs or the child ends. So the
//! code that runs in between must neither allocate nor take a lock. Its changes to memory are changes in the host: that is how it
//! reports a failure.

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::Pid;

use super::{Program, Started};

/// The stack for the steps before a program runs: a few nested calls, also without optimization.
const STACK_BYTES: usize = 256 << 10;

/// The step that failed in a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    what: &'static str,
    error: Errno,
}

impl Failed {
    pub(crate) fn of(what: &'static str, error: Errno) -> Self {
        Self { what, error }
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        let kind = io::Error::from(failed.error).kind();
        Self::new(kind, format!("cannot {}: {}", failed.what, io::Error::from(failed.error)))
    }
}

/// Runs `steps` in a child in these namespaces, which then ends.
///
/// # Errors
/// The step that failed, or that there can be no such child.
pub(crate) fn attempt(namespaces: c_int, steps: &mut dyn FnMut() -> Result<(), Failed>) -> io::Result<()> {
    let mut child = Child { steps, program: None, failed: None };
    let pid = child.clone(namespaces)?;
    // The child has reported its failure itself.
    let _ = Started { pid, owns_processes: false, output: None }.wait();
    child.failed.map_or(Ok(()), |failed| Err(failed.into()))
}

/// Starts a program in these namespaces, after `steps` have run in the child. `owns_processes` says whether one of them is a PID
/// namespace.
pub(crate) fn start_after(
    program: &Program,
    namespaces: c_int,
    owns_processes: bool,
    steps: &mut dyn FnMut() -> Result<(), Failed>,
) -> io::Result<Started> {
    let (stdout, out) = pipe()?;
    let (stderr, err) = pipe()?;
    let stdin = above_standard(&program.stdin)?;
    let run = Run::new(program, [stdin.as_raw_fd(), out.as_raw_fd(), err.as_raw_fd()])?;
    let mut child = Child { steps, program: Some(&run), failed: None };
    let pid = child.clone(namespaces)?;
    let started = Started { pid, owns_processes, output: Some((stdout, stderr)) };
    if let Some(failed) = child.failed {
        let _ = started.wait();
        return Err(failed.into());
    }
    Ok(started)
}

/// A program's arguments and variables, in the form for the kernel.
struct Run {
    path: CString,
    _arguments: Vec<CString>,
    _variables: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// The descriptors that become 0, 1 and 2. They have other numbers than these.
    standard: [RawFd; 3],
}

impl Run {
    fn new(program: &Program, standard: [RawFd; 3]) -> io::Result<Self> {
        let c_string = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(io::Error::from);
        let path = c_string(program.path.as_os_str())?;
        let arguments = vec![path.clone(), c_string(program.argument.as_os_str())?];
        let mut variables = Vec::with_capacity(program.variables.len());
        for (name, value) in &program.variables {
            let mut whole = name.clone();
            whole.push("=");
            whole.push(value);
            variables.push(c_string(&whole)?);
        }
        let pointers = |texts: &[CString]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (argv, envp) = (pointers(&arguments), pointers(&variables));
        Ok(Self { path, _arguments: arguments, _variables: variables, argv, envp, standard })
    }

    /// Sets descriptors 0 to 2 and runs the program. Returns only if that fails.
    fn run(&self) -> Failed {
        for (number, from) in (0..).zip(self.standard) {
            // SAFETY: the arguments are numbers. The descriptors of this process are its own, a copy of the host's table.
            if unsafe { libc::dup2(from, number) } < 0 {
                return Failed::of("hand over its input and output", last_error());
            }
        }
        // SAFETY: the path is a C string; both arrays end with a null pointer, and point to C strings. All of them are in `self`.
        unsafe { libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        Failed::of("run it", last_error())
    }
}

/// A child, from its first step until its program runs.
struct Child<'a> {
    steps: &'a mut dyn FnMut() -> Result<(), Failed>,
    program: Option<&'a Run>,
    /// Written by the child.
    failed: Option<Failed>,
}

impl Child<'_> {
    /// Makes the child. Returns when its program runs, or it has ended or failed.
    fn clone(&mut self, namespaces: c_int) -> io::Result<Pid> {
        let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / size_of::<u128>());
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | namespaces;
        let signals = Signals::block();
        // SAFETY: the stack was allocated for the child, is aligned, and grows down from its end; it outlives the child's use of
        // this memory, since `CLONE_VFORK` suspends this thread until then. `self` has the type that `begin` expects, and nothing
        // else uses it meanwhile. No signal handler runs in the child: all signals are blocked until it has no handlers.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.capacity());
            libc::clone(begin, top.cast(), flags, std::ptr::from_mut(self).cast())
        };
        let error = io::Error::last_os_error();
        signals.restore();
        if pid > 0 { Pid::from_raw(pid).ok_or(error) } else { Err(error) }
    }

    fn go(&mut self) -> Failed {
        let mut prepare = || -> Result<(), Failed> {
            // The program inherits no descriptor of this process except 0, 1 and 2.
            // SAFETY: the arguments are numbers.
            let closing = unsafe { libc::syscall(libc::SYS_close_range, 0, c_int::MAX, CLOSE_RANGE_CLOEXEC) };
            if closing != 0 {
                return Err(Failed::of("close what the host has open", last_error()));
            }
            (self.steps)()
        };
        match (prepare(), self.program) {
            (Err(failed), _) => failed,
            (Ok(()), Some(program)) => {
                Signals::unblock();
                program.run()
            }
            (Ok(()), None) => end(0),
        }
    }
}

/// The flag that sets close-on-exec in place of closing descriptors.
const CLOSE_RANGE_CLOEXEC: c_int = 4;

/// The child's first function.
extern "C" fn begin(child: *mut c_void) -> c_int {
    // SAFETY: `Child::clone` passes a pointer to itself, and waits.
    let child = unsafe { &mut *child.cast::<Child<'_>>() };
    Signals::forget_handlers();
    child.failed = Some(child.go());
    end(127)
}

/// Ends this process at once, without the exit handlers that the host has registered.
fn end(status: c_int) -> ! {
    // SAFETY: the argument is a number.
    unsafe { libc::_exit(status) }
}

/// The signal mask from before.
struct Signals(libc::sigset_t);

impl Signals {
    fn block() -> Self {
        // SAFETY: both sets are local variables; zeros are a valid set.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }

    fn restore(&self) {
        // SAFETY: the set is a field of `self`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }

    /// Unblocks all signals, as a new program expects.
    fn unblock() {
        // SAFETY: as above.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
    }

    /// Resets every signal to its default action: a handler of the host must not run in a child that uses the host's memory, and
    /// the program must not ignore the signals that the host ignores.
    fn forget_handlers() {
        for number in 1..libc::SIGRTMAX() + 1 {
            // An error means that there is no such signal, or that its action cannot be changed.
            // SAFETY: the child has its own table of actions. Zeros are an action without flags and signals.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(number, &raw const action, std::ptr::null_mut());
            }
        }
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Both ends of a pipe, with close-on-exec: the reading end, the writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), above_standard(&OwnedFd::from(writer))?))
}

/// A copy of a descriptor with a number above 2.
fn above_standard(fd: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(fd, 3)?)
}
