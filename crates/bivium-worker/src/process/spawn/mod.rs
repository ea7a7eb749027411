//! Starts a worker's process. This module has the crate's only `unsafe` code, and the thread that starts every worker.
//!
//! On Linux the kernel can signal a child when its parent *thread* ends. A thread of an async runtime may end at any
//! time, so all workers are started from one thread that lives as long as the host.
//!
//! No worker is started by a fork: that copies the host's page tables, which takes some 40 ms for each GiB that it uses, and blocks
//! its other threads for that long. A trusted worker is started by the standard library, which then uses `posix_spawn`. A worker that
//! needs confinement or limits is started by [`clone`](self::clone), which shares the host's memory until the program runs.

#[cfg(target_os = "linux")]
mod clone;
#[cfg(target_os = "linux")]
mod sys;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::sync::oneshot;

use crate::confinement::Sandbox;
use crate::process::Process;

#[cfg(target_os = "linux")]
pub(crate) use clone::{Failed, attempt};
#[cfg(target_os = "linux")]
pub(crate) use sys::{MountAttributes, add_landlock_rule, restrict_by_landlock, set_mount_attributes};

/// The program to run, with its arguments, variables and standard input. It inherits nothing else.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) argument: PathBuf,
    pub(crate) variables: BTreeMap<OsString, OsString>,
    pub(crate) stdin: OwnedFd,
}

/// A child that was started and was not reaped yet.
#[derive(Debug)]
pub(crate) struct Started {
    pid: Pid,
    owns_processes: bool,
    /// Its stdout and stderr.
    pub(crate) output: Option<(OwnedFd, OwnedFd)>,
}

impl Started {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it is the first process of a PID namespace: all others in the namespace end with it.
    pub(crate) fn owns_processes(&self) -> bool {
        self.owns_processes
    }

    /// Waits for its end and reaps it. Its status is not known if the host ignores SIGCHLD: then the kernel reaps it by
    /// itself.
    pub(crate) fn wait(&self) -> Option<ExitStatus> {
        use std::os::unix::process::ExitStatusExt;

        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => return Some(ExitStatus::from_raw(status.as_raw())),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Turns the started child into a value that ends it when dropped.
type Own = Box<dyn FnOnce(Started) -> Process + Send>;

/// Who asks the kernel to signal the guard when the host ends, and to make it the parent of orphaned descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuardSetup {
    /// The guard itself, as `watch.py` does where it can.
    ByGuard,
    /// The child, before its program runs.
    BeforeExec,
}

struct Job {
    program: Program,
    sandbox: Sandbox,
    setup: GuardSetup,
    own: Own,
    reply: oneshot::Sender<io::Result<Process>>,
}

/// Starts a worker's guard in its sandbox. If the future is dropped before it is done, the child is ended.
pub(crate) async fn spawn(program: Program, sandbox: Sandbox, setup: GuardSetup, own: Own) -> io::Result<Process> {
    let gone = || io::Error::other("the thread that starts workers has ended");
    let (reply, answer) = oneshot::channel();
    spawner()?.send(Job { program, sandbox, setup, own, reply }).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn spawner() -> io::Result<&'static Sender<Job>> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("bivium-spawner".to_owned()).spawn(move || {
        for Job { program, sandbox, setup, own, reply } in jobs {
            // If nobody waits for the process any more, dropping it ends it.
            drop(reply.send(start(program, &sandbox, setup).map(own)));
        }
    })?;
    // If two callers do this at the same time, the thread of the second ends with its sender.
    Ok(SPAWNER.get_or_init(|| sender))
}

fn start(program: Program, sandbox: &Sandbox, setup: GuardSetup) -> io::Result<Started> {
    if sandbox.is_open() && setup == GuardSetup::ByGuard {
        return start_as_it_is(program);
    }
    #[cfg(target_os = "linux")]
    return clone::start(&program, sandbox);
    #[cfg(not(target_os = "linux"))]
    start_with_limits(program, sandbox)
}

fn command(program: Program) -> Command {
    let mut command = Command::new(&program.path);
    command
        .arg(&program.argument)
        .env_clear()
        .envs(&program.variables)
        .stdin(Stdio::from(program.stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

fn start_as_it_is(program: Program) -> io::Result<Started> {
    spawned(command(program).spawn()?)
}

fn spawned(mut child: std::process::Child) -> io::Result<Started> {
    // The id of a child is positive.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let output = child.stdout.take().zip(child.stderr.take());
    // The standard library neither reaps nor ends a child that is dropped.
    Ok(Started { pid, owns_processes: false, output: output.map(|(stdout, stderr)| (stdout.into(), stderr.into())) })
}

#[cfg(not(target_os = "linux"))]
fn start_with_limits(program: Program, sandbox: &Sandbox) -> io::Result<Started> {
    use std::os::unix::process::CommandExt;

    let limits = sandbox.limits();
    let mut command = command(program);
    // SAFETY: the closure runs in the child between fork and exec, where locks of other threads may be held for ever. It takes no
    // lock and does not allocate: it makes only system calls, and its errors are numbers.
    unsafe {
        command.pre_exec(move || Sandbox::apply(&limits));
    }
    spawned(command.spawn()?)
}
