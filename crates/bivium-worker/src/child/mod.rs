//! Child processes: how the kernel makes one. This folder has the crate's only `unsafe` code.
//!
//! No child is made by a fork: that copies the host's page tables, which takes some 40 ms for each GiB that it uses, and blocks
//! its other threads for that long. A program that needs nothing done before it runs is started by the standard library, which then
//! uses `posix_spawn`. Any other is started by [`clone`](self::clone), which shares the host's memory until the program runs.

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

use rustix::process::{Pid, WaitOptions, waitpid};

#[cfg(target_os = "linux")]
pub(crate) use clone::{Failed, attempt, start_after};
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

/// Starts a program, leading a process group of its own.
pub(crate) fn start(program: Program) -> io::Result<Started> {
    spawned(command(program).spawn()?)
}

/// The same, after `steps` have run in the child.
#[cfg(not(target_os = "linux"))]
pub(crate) fn start_after(
    program: Program,
    steps: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<Started> {
    use std::os::unix::process::CommandExt;

    let mut command = command(program);
    // SAFETY: the closure runs in the child between fork and exec, where locks of other threads may be held for ever. It takes no
    // lock and does not allocate: it makes only system calls, and its errors are numbers.
    unsafe {
        command.pre_exec(steps);
    }
    spawned(command.spawn()?)
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

fn spawned(mut child: std::process::Child) -> io::Result<Started> {
    // The id of a child is positive.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let output = child.stdout.take().zip(child.stderr.take());
    // The standard library neither reaps nor ends a child that is dropped.
    Ok(Started { pid, owns_processes: false, output: output.map(|(stdout, stderr)| (stdout.into(), stderr.into())) })
}
