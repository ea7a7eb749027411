//! [`Process`]: the guard's process and all below it, from its start to its burial.
//!
//! Nothing here waits for the process on the way out: a process that is dropped is ended by the closing of its
//! channel, and a thread of ours takes it off the kernel's table, with force if it does not go. Every wait for a guard is
//! bounded, since a plugin may have stopped it.

pub(crate) mod ending;
pub(crate) mod ids;
pub(crate) mod lines;
pub(crate) mod memory;
pub(crate) mod output;
#[expect(
    unsafe_code,
    reason = "what a child does before its program runs cannot be said safely; nothing else is in it"
)]
pub(crate) mod spawn;
#[cfg(target_os = "linux")]
pub(crate) mod stat;
pub(crate) mod sweep;
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

use crate::confinement::Group;
use crate::process::spawn::Started;
use crate::process::sweep::sweep;

/// How long the guard may take to end everything once the channel is closed, and to exit once it has: it needs some 20 ms,
/// and gives up after a second.
const GUARD_TIME: Duration = Duration::from_millis(1500);
/// How long a guard that was killed may take to end.
const END_TIME: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The host's end of the channel. Closing it is the order to end, and so is the host's death.
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
        // Only our writing half: the guard's last words are still to be read. An error means that it is gone.
        let _ = self.channel.shutdown(Shutdown::Write);
        // An error means that it was released before.
        let _ = self.released.set(());
    }
}

/// What became of a guard's process and of all below it.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    pub(crate) status: Option<ExitStatus>,
    /// Those that could not be ended.
    pub(crate) left: Vec<u32>,
}

/// A started guard.
#[derive(Debug)]
pub(crate) struct Process {
    guard: Option<Guard>,
    guard_channel: Arc<GuardChannel>,
}

/// A guard's process that was not reaped yet: the kernel keeps its number.
#[derive(Debug)]
struct Guard {
    child: Started,
    /// What the environment of every process below it says: see [`sweep`].
    mark: String,
    /// The control group of all of them, where they have one.
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

    /// Waits until the guard has ended. It stays on the kernel's table, so that its number stays its own.
    pub(crate) async fn ended(&self) {
        let Some(guard) = &self.guard else { return };
        #[cfg(target_os = "linux")]
        if let Ok(handle) = rustix::process::pidfd_open(guard.pid(), rustix::process::PidfdFlags::empty()) {
            #[expect(
                deprecated,
                reason = "its successor is unsafe for the sake of types that give their descriptor away; ours owns it"
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

    /// Waits until the guard has ended, or should have.
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

    /// Ends what the guard may have left, if it could not do so itself, and takes it off the kernel's table. Blocks for some
    /// seconds at most.
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

    /// Has a guard go on that was stopped. Not one that is traced.
    fn wake(&self) {
        // Its number is its own until it is waited for. An error means that it has ended.
        let _ = kill_process(self.pid(), Signal::CONT);
    }

    /// Waits for a process that has ended or was killed, which does not take long.
    fn reap(self, orderly: bool) -> Reaped {
        let mut left = if orderly { Vec::new() } else { self.kill() };
        let deadline = Instant::now() + END_TIME;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        if self.has_ended() {
            return Reaped { status: self.child.wait(), left };
        }
        // In an uninterruptible system call.
        left.push(self.id());
        reap_later(self, None);
        Reaped { status: None, left }
    }

    /// For a guard that was killed, is stopped or could not finish. It goes last: as long as it is there, what is below it
    /// is known to be.
    fn kill(&self) -> Vec<u32> {
        if let Some(group) = &self.group {
            group.kill();
        }
        let mut left = Vec::new();
        if !self.child.owns_processes() {
            left = sweep(self.id(), &self.mark);
        }
        // Its number is its own until it is waited for. An error means that nobody is left in the group. With the first process of
        // a PID namespace the kernel ends all others in it.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        if !left.is_empty() {
            left = sweep(self.id(), &self.mark);
        }
        left
    }

    fn id(&self) -> u32 {
        self.pid().as_raw_nonzero().get().unsigned_abs()
    }
}

/// A guard that nobody waits for, and when it is ended with force; never any more if it was.
type Unreaped = (Guard, Option<Instant>);

/// Hands a process that nobody waits for to the thread that does, to be ended with force after `deadline`, or not any more.
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
    // Without the thread; what could not be ended is left to the kernel.
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

/// Reaps what it is handed, each once it has ended or its time is up.
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
            // One that ended before its time was up has swept below itself.
            let orderly = guard.has_ended();
            tell_left(&guard.reap(orderly).left);
        }
    }
}

/// The name of a signal that ends programs; others by number.
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
