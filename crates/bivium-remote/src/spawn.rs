//! Starting a worker's process: the crate's only `unsafe`, and the thread that every worker is started from.
//!
//! On Linux the kernel tells a child when its parent *thread* ends. A thread of an async runtime may end at any
//! time, so all workers are started from one that lives as long as the host.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

use tokio::sync::oneshot;

use crate::confine::Cage;
use crate::process::Process;

/// Turns the started child into a value that ends it when dropped.
type Own = Box<dyn FnOnce(Child) -> Process + Send>;

/// Who sees to it that the kernel tells the guard of the host's end, and leaves to it what its worker starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// The guard itself, as `guard.py` does where it can.
    ByGuard,
    /// We, between fork and exec.
    BeforeExec,
}

struct Job {
    command: Command,
    own: Own,
    reply: oneshot::Sender<io::Result<Process>>,
}

/// Starts `command` as a worker's guard in its cage. If the future is dropped meanwhile, the child is ended.
///
/// Where there is nothing to do between fork and exec there is no fork either: the standard library then starts the child
/// on the host's own memory (`posix_spawn`). To fork is to copy the host's page tables, some 40 ms for each GiB that it
/// uses, and to hold up its other threads for that long.
pub(crate) async fn spawn(mut command: Command, cage: Cage, tie: Tie, own: Own) -> io::Result<Process> {
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    if tie == Tie::BeforeExec || !cage.is_open() {
        prepare(&mut command, cage);
    }
    let gone = || io::Error::other("the thread that starts workers has ended");
    let (reply, answer) = oneshot::channel();
    spawner()?.send(Job { command, own, reply }).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn spawner() -> io::Result<&'static Sender<Job>> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("bivium-spawner".to_owned()).spawn(move || {
        for Job { mut command, own, reply } in jobs {
            // Nobody there to take it: dropping it ends it.
            drop(reply.send(command.spawn().map(own)));
        }
    })?;
    // If two callers came here at once, the thread of the second ends with its sender.
    Ok(SPAWNER.get_or_init(|| sender))
}

#[cfg(target_os = "linux")]
fn prepare(command: &mut Command, mut cage: Cage) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getppid, set_child_subreaper, set_parent_process_death_signal};

    let host = rustix::process::getpid();
    let in_child = move || {
        // The guard catches this signal and ends everything below it. Before it has come that far there is nothing
        // below it, and the signal's default action ends it.
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // What the plugin starts stays below the guard, however it cuts its ties. Kept across exec.
        set_child_subreaper(Some(rustix::process::getpid()))?;
        if getppid() != Some(host) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        cage.close()
    };
    // SAFETY: the closure runs in the child between fork and exec, where other threads' locks may be held for ever.
    // It takes none and does not allocate: plain system calls and comparisons; its errors are numbers. What the
    // cage needs was made before.
    unsafe {
        command.pre_exec(in_child);
    }
}

#[cfg(not(target_os = "linux"))]
fn prepare(command: &mut Command, mut cage: Cage) {
    use std::os::unix::process::CommandExt;

    // SAFETY: as above.
    unsafe {
        command.pre_exec(move || cage.close());
    }
}
