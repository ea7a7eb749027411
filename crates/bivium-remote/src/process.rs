//! [`Process`]: the guard's process and all below it, from its start to its burial.
//!
//! Nothing here waits for the process on the way out: a process that is dropped is ended by the closing of its
//! channel, and a thread of ours takes it off the kernel's table, with force if it does not go.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::confine::Group;
use crate::sweep::sweep;

/// How long the guard may take to end everything once the channel is closed: it needs some 20 ms.
const GUARD_TIME: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The host's end of the channel. Closing it is the order to end, and so is the host's death.
#[derive(Debug)]
pub(crate) struct Leash(UnixStream);

impl Leash {
    pub(crate) fn new(channel: UnixStream) -> Self {
        Self(channel)
    }

    /// Ends the worker and everything it started, whatever it is doing. Returns at once.
    pub(crate) fn release(&self) {
        // Only our writing half: the guard's last words are still to be read. An error means that it is gone.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

/// A started guard.
#[derive(Debug)]
pub(crate) struct Process {
    grave: Option<Grave>,
    leash: Arc<Leash>,
}

/// A process that is still on the kernel's table.
#[derive(Debug)]
struct Grave {
    child: Child,
    pid: Pid,
    /// What the environment of every process below it says: see [`sweep`].
    mark: String,
    /// The control group of all of them, where they have one.
    group: Option<Arc<Group>>,
}

impl Process {
    pub(crate) fn new(child: Child, mark: String, leash: Arc<Leash>, group: Option<Arc<Group>>) -> Self {
        // A child's id is positive.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap_or(Pid::INIT);
        Self { grave: Some(Grave { child, pid, mark, group }), leash }
    }

    /// The pid of the guard.
    pub(crate) fn id(&self) -> u32 {
        self.grave.as_ref().map_or(0, |grave| grave.child.id())
    }

    /// The child's stdout and stderr, once.
    pub(crate) fn take_output(&mut self) -> Option<(std::process::ChildStdout, std::process::ChildStderr)> {
        let child = &mut self.grave.as_mut()?.child;
        Some((child.stdout.take()?, child.stderr.take()?))
    }

    /// Waits until the guard has ended. It stays on the kernel's table, so that its number stays its own.
    pub(crate) async fn ended(&self) {
        let Some(grave) = &self.grave else { return };
        #[cfg(target_os = "linux")]
        if let Ok(handle) = rustix::process::pidfd_open(grave.pid, rustix::process::PidfdFlags::empty()) {
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
        while !grave.has_ended() {
            tokio::time::sleep(LOOK_EVERY * 4).await;
        }
    }

    /// Ends what the guard may have left, if it could not do so itself, and takes it off the kernel's table.
    pub(crate) fn bury(mut self, orderly: bool) -> Option<ExitStatus> {
        self.grave.take().and_then(|mut grave| grave.bury(orderly))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.leash.release();
        if let Some(grave) = self.grave.take() {
            inter(grave);
        }
    }
}

impl Grave {
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Waits for a process that has ended or was killed, which does not take long.
    fn bury(&mut self, orderly: bool) -> Option<ExitStatus> {
        if !orderly {
            self.kill();
        }
        self.child.wait().ok()
    }

    /// For a guard that was killed or hangs: it leads its group, and what has left the group still has the mark.
    fn kill(&self) {
        // Its number is its own until it is waited for. An error means that nobody is left in the group.
        let _ = kill_process_group(self.pid, Signal::KILL);
        if let Some(group) = &self.group {
            group.kill();
        }
        sweep(&self.mark);
    }
}

/// Hands a process that nobody waits for to the thread that does.
fn inter(grave: Grave) {
    static SEXTON: OnceLock<Option<Sender<(Grave, Instant)>>> = OnceLock::new();
    let sexton = SEXTON.get_or_init(|| {
        let (sender, graves) = mpsc::channel();
        let work = move || dig(&graves);
        let thread = std::thread::Builder::new().name("bivium-reaper".to_owned()).spawn(work);
        thread.ok().map(|_| sender)
    });
    let unburied = match sexton {
        Some(sexton) => sexton.send((grave, Instant::now() + GUARD_TIME)).map_err(|failed| failed.0.0),
        None => Err(grave),
    };
    if let Err(mut grave) = unburied {
        grave.bury(false);
    }
}

fn dig(graves: &mpsc::Receiver<(Grave, Instant)>) {
    let mut open: Vec<(Grave, Instant)> = Vec::new();
    loop {
        let next = match open.is_empty() {
            true => graves.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => graves.recv_timeout(LOOK_EVERY),
        };
        match next {
            Ok(grave) => open.push(grave),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        open.retain_mut(|(grave, deadline)| {
            let ended = grave.has_ended();
            if ended || Instant::now() > *deadline {
                // One that ended before its time was up has swept below itself.
                grave.bury(ended);
                return false;
            }
            true
        });
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
