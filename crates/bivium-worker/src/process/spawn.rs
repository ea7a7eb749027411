//! Starts a worker's guard in its sandbox, in a thread that starts every worker.
//!
//! On Linux the kernel can signal a child when its parent *thread* ends. A thread of an async runtime may end at any
//! time, so all workers are started from one thread that lives as long as the host.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

#[cfg(target_os = "linux")]
use rustix::process::{Pid, Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal};
use tokio::sync::oneshot;

#[cfg(target_os = "linux")]
use crate::child::Failed;
use crate::child::{self, Program, Started};
use crate::confinement::Sandbox;
use crate::process::Process;

/// Turns the started child into a value that ends it when dropped.
type Own = Box<dyn FnOnce(Started) -> Process + Send>;

/// Who asks the kernel to signal the guard when the host ends, and to make it the parent of orphaned descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuardSetup {
    /// The guard itself, as `guard.py` does where it can.
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
        return child::start(program);
    }
    start_in_sandbox(program, sandbox)
}

#[cfg(target_os = "linux")]
fn start_in_sandbox(program: Program, sandbox: &Sandbox) -> io::Result<Started> {
    let host = getpid();
    let is_first = sandbox.has_processes_of_its_own();
    child::start_after(&program, sandbox.namespaces(), is_first, &mut || {
        set_up_guard(host, is_first)?;
        // Not fatal: it may lead a group already.
        let _ = rustix::process::setpgid(None, None);
        sandbox.enter()
    })
}

#[cfg(not(target_os = "linux"))]
fn start_in_sandbox(program: Program, sandbox: &Sandbox) -> io::Result<Started> {
    let limits = sandbox.limits();
    child::start_after(program, move || Sandbox::apply(&limits))
}

/// Asks the kernel to kill or signal the guard when the thread that starts workers ends, and to make it the parent of orphaned
/// descendants.
#[cfg(target_os = "linux")]
fn set_up_guard(host: Pid, is_first: bool) -> Result<(), Failed> {
    let failed = |error| Failed::of("set the guard's death signal and make it a subreaper", error);
    if is_first {
        // Process 1 of a namespace ignores signals without a handler, except this one; and all others in the namespace end with
        // it. If the host has died before this, its end of the channel is closed.
        return set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed);
    }
    // The guard handles this signal and ends everything below it. Until its handler is set there is nothing below it, and the
    // signal's default action ends it.
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(failed)?;
    set_child_subreaper(Some(getpid())).map_err(failed)?;
    if getppid() != Some(host) {
        return Err(failed(rustix::io::Errno::PIPE));
    }
    Ok(())
}
