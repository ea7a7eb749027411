//! [`Process`]: the guard's process and all processes below it, from the start until it is reaped.
//!
//! Dropping a process does not block: it is ended because its channel closes, and a thread reaps it, and kills it if it does
//! not end in time. Every wait for a guard is bounded, since a plugin may have stopped it.

pub(crate) mod descendants;
pub(crate) mod ending;
pub(crate) mod ids;
pub(crate) mod lines;
pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod running;
pub(crate) mod spawn;
#[cfg(target_os = "linux")]
pub(crate) mod stat;
pub(crate) mod state;
pub(crate) mod usage;

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::sync::SetOnce;

use crate::child::Started;
use crate::confinement::Group;
use crate::process::descendants::kill_descendants;

/// How long the guard may take to end everything after the channel is closed, and to exit after that: it needs some 20 ms,
/// and gives up after a second.
const GUARD_TIME: Duration = Duration::from_millis(1500);
/// How long a guard that was killed may take to end.
const END_TIME: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The host's end of the channel. When it is closed, also by the host's death, the guard ends the worker.
#[derive(Debug)]
pub(crate) struct GuardChannel {
    channel: UnixStream,
    released: SetOnce<()>,
}

impl GuardChannel {
    pub(crate) fn new(channel: UnixStream) -> Self {
        Self { channel, released: SetOnce::new() }
    }

    /// Ends the worker and everything it started, whatever it is doing. Returns at once.
    pub(crate) fn release(&self) {
        // Only the writing half: the guard's report must still be read. An error means that the guard is gone.
        let _ = self.channel.shutdown(Shutdown::Write);
        // An error means that it was released before.
        let _ = self.released.set(());
    }
}

/// How a guard and the processes below it ended.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    pub(crate) status: Option<ExitStatus>,
    /// The processes that could not be ended.
    pub(crate) left: Vec<u32>,
}

/// A started guard.
#[derive(Debug)]
pub(crate) struct Process {
    guard: Option<Guard>,
    guard_channel: Arc<GuardChannel>,
}

/// A guard's process that was not reaped yet, so that the kernel keeps its id.
#[derive(Debug)]
struct Guard {
    child: Started,
    /// The mark in the environment of every process below it: see [`kill_descendants`].
    mark: String,
    /// The control group of all of them, if they have one.
    group: Option<Arc<Group>>,
}

impl Process {
    pub(crate) fn new(
        child: Started,
        mark: String,
        guard_channel: Arc<GuardChannel>,
        group: Option<Arc<Group>>,
    ) -> Self {
        Self { guard: Some(Guard { child, mark, group }), guard_channel }
    }

    /// The pid of the guard.
    pub(crate) fn id(&self) -> u32 {
        self.guard.as_ref().map_or(0, Guard::id)
    }

    /// The child's stdout and stderr, once.
    pub(crate) fn take_output(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        self.guard.as_mut()?.child.output.take()
    }

    /// Waits until the guard has ended. It is not reaped, so that no other process gets its id.
    pub(crate) async fn ended(&self) {
        let Some(guard) = &self.guard else { return };
        #[cfg(target_os = "linux")]
        if let Ok(handle) = rustix::process::pidfd_open(guard.pid(), rustix::process::PidfdFlags::empty()) {
            #[expect(
                deprecated,
                reason = "its successor is unsafe because of types that give their descriptor away; this one owns it"
            )]
            if let Ok(handle) = tokio::io::unix::AsyncFd::new(handle)
                && handle.readable().await.is_ok()
            {
                return;
            }
        }
        while !guard.has_ended() {
            tokio::time::sleep(LOOK_EVERY * 4).await;
        }
    }

    /// Waits until the guard has ended, or is overdue.
    pub(crate) async fn ended_in_time(&self) {
        let _ = tokio::time::timeout(GUARD_TIME, self.ended()).await;
    }

    /// Waits until the guard was told to end and has not done so in time.
    pub(crate) async fn overdue(&self) {
        self.guard_channel.released.wait().await;
        if let Some(guard) = &self.guard {
            guard.wake();
        }
        tokio::time::sleep(GUARD_TIME).await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.guard.as_ref().is_none_or(Guard::has_ended)
    }

    /// Ends the processes that the guard may have left, unless `orderly`, and reaps the guard. Blocks for some seconds at
    /// most.
    pub(crate) fn reap(mut self, orderly: bool) -> Reaped {
        self.guard.take().map(|guard| guard.reap(orderly)).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.guard_channel.release();
        if let Some(guard) = self.guard.take() {
            guard.wake();
            reap_later(guard, Some(Instant::now() + GUARD_TIME));
        }
    }
}

impl Guard {
    fn pid(&self) -> Pid {
        self.child.pid()
    }

    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    /// Makes a stopped guard continue. It has no effect on one that is traced.
    fn wake(&self) {
        // The id belongs to the guard until it is reaped. An error means that it has ended.
        let _ = kill_process(self.pid(), Signal::CONT);
    }

    /// Reaps a process that has ended or was killed, which does not take long.
    fn reap(self, orderly: bool) -> Reaped {
        let mut left = if orderly { Vec::new() } else { self.kill() };
        let deadline = Instant::now() + END_TIME;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        if self.has_ended() {
            return Reaped { status: self.child.wait(), left };
        }
        // It is in an uninterruptible system call.
        left.push(self.id());
        reap_later(self, None);
        Reaped { status: None, left }
    }

    /// For a guard that was killed, is stopped or could not finish. The guard is killed last: while it exists, the processes
    /// below it can be found.
    fn kill(&self) -> Vec<u32> {
        if let Some(group) = &self.group {
            group.kill();
        }
        let mut left = Vec::new();
        if !self.child.owns_processes() {
            left = kill_descendants(self.id(), &self.mark);
        }
        // The id belongs to the guard until it is reaped. An error means that the group is empty. With the first process of a PID
        // namespace the kernel kills all others in it.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        if !left.is_empty() {
            left = kill_descendants(self.id(), &self.mark);
        }
        left
    }

    fn id(&self) -> u32 {
        self.pid().as_raw_nonzero().get().unsigned_abs()
    }
}

/// A guard that nobody waits for, and when it is killed; None if it was killed already.
type Unreaped = (Guard, Option<Instant>);

/// Passes a process that nobody waits for to the thread that reaps it, and kills it after `deadline` if there is one.
fn reap_later(guard: Guard, deadline: Option<Instant>) {
    static REAPER: OnceLock<Option<Sender<Unreaped>>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let (sender, guards) = mpsc::channel();
        let work = move || reap_all(&guards);
        let thread = std::thread::Builder::new().name("bivium-reaper".to_owned()).spawn(work);
        thread.ok().map(|_| sender)
    });
    let unreaped = match reaper {
        Some(reaper) => reaper.send((guard, deadline)).map_err(|failed| failed.0.0),
        None => Err(guard),
    };
    // The thread could not be started. Processes that could not be ended are left to the kernel.
    if let Err(guard) = unreaped
        && deadline.is_some()
    {
        tell_left(&guard.reap(false).left);
    }
}

fn tell_left(left: &[u32]) {
    if !left.is_empty() {
        tracing::error!(pids = ?left, "processes of a worker could not be ended");
    }
}

/// Reaps the guards that it receives, each when it has ended or its deadline has passed.
fn reap_all(guards: &mpsc::Receiver<Unreaped>) {
    let mut open: Vec<Unreaped> = Vec::new();
    loop {
        let next = match open.is_empty() {
            true => guards.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => guards.recv_timeout(LOOK_EVERY),
        };
        match next {
            Ok(guard) => open.push(guard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let over = |guard: &Guard, deadline: &Option<Instant>| {
            guard.has_ended() || deadline.is_some_and(|deadline| Instant::now() > deadline)
        };
        let due: Vec<Guard> =
            open.extract_if(.., |(guard, deadline)| over(guard, deadline)).map(|(guard, _)| guard).collect();
        for guard in due {
            // A guard that ended in time has ended all processes below it.
            let orderly = guard.has_ended();
            tell_left(&guard.reap(orderly).left);
        }
    }
}

/// The name of a signal that ends programs; for other signals the number.
pub(crate) fn signal_name(number: i32) -> String {
    let name = match number {
        4 => "SIGILL",
        6 => "SIGABRT",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}
