//! Runs one program to its end: passes on its lines as they arrive, keeps its last lines for an error, and leaves no process behind.
//!
//! Its output is bounded (the length of a line, the lines that are kept) and shown without control characters, since it is
//! not trusted. Dropping the future kills the program's whole process group.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How many bytes of a line are kept.
const LINE: usize = 8 << 10;
/// How many lines are kept for an error.
const TAIL: usize = 20;
/// How long output is read after the program's end: a process that it left behind may keep the pipe open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// How a program ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    /// Its last lines.
    pub(super) tail: Vec<String>,
}

impl Finished {
    /// Its last line, as part of a sentence.
    pub(super) fn last_line(&self) -> &str {
        self.tail.last().map_or("it printed nothing", |line| line.trim().trim_end_matches('.'))
    }
}

/// Runs `command`, which must be in a process group of its own; `each` gets the lines of stdout and stderr, in the
/// order in which they were written.
///
/// # Errors
/// Why the program cannot be started, or why it is not known how it ended.
pub(super) async fn run(mut command: Command, each: &(dyn Fn(&str) + Sync)) -> io::Result<Finished> {
    let (reader, writer) = io::pipe()?;
    let reader = Receiver::from_owned_fd(reader.into())?;
    let mut child = Group(command.stdout(writer.try_clone()?).stderr(writer).spawn()?);
    // It has the pipe's writing end open, and the pipe does not end before that is closed.
    drop(command);

    let mut tail = VecDeque::with_capacity(TAIL);
    let keep = |line: &str| {
        each(line);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    };
    let status = {
        let mut output = pin!(lines(reader, keep));
        tokio::select! {
            status = child.0.wait() => {
                // It does not matter whether the pipe was closed in time.
                let _ = timeout(DRAIN, output).await;
                status
            }
            () = &mut output => child.0.wait().await,
        }
    };
    let status = status.map_err(untold)?;
    Ok(Finished { status, tail: tail.into() })
}

/// The error of a wait for a program's end.
fn untold(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(Errno::CHILD.raw_os_error()) {
        return error;
    }
    io::Error::other("it is not known how it ended, because this host ignores SIGCHLD")
}

/// A program whose process group ends with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // A program that was reaped has no id any more, and another process may have it by now.
        let pid = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn lines(mut from: Receiver, mut each: impl FnMut(&str)) {
    let mut read = vec![0; LINE];
    let mut line = Vec::new();
    let mut end = |line: &mut Vec<u8>| {
        let text: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control() || *c == '\t').collect();
        if !text.trim().is_empty() {
            each(text.trim_end());
        }
        line.clear();
    };
    while let Ok(count @ 1..) = from.read(&mut read).await {
        for byte in read.iter().take(count) {
            match byte {
                b'\n' | b'\r' => end(&mut line),
                _ if line.len() < LINE => line.push(*byte),
                _ => {}
            }
        }
    }
    end(&mut line);
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::sync::Mutex;

    use super::super::machine::Machine;
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Machine::new("/usr/bin:/bin".into(), Vec::new()).command(Path::new("/bin/sh"));
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn keeps_the_last_lines_of_both_outputs_and_cuts_long_ones() {
        let seen = Mutex::new(0);
        let script = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; \
                      head -c 100000 /dev/zero | tr '\\0' x; printf '\\n\\033[31mred' >&2; exit 3";
        let finished = run(shell(script), &|_| *seen.lock().unwrap() += 1).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.tail.len(), TAIL);
        assert_eq!(finished.tail[0], "line 12");
        assert_eq!(finished.tail[18].len(), LINE);
        assert_eq!(finished.last_line(), "[31mred");
        assert_eq!(*seen.lock().unwrap(), 32);
    }

    #[tokio::test]
    async fn a_dropped_future_kills_the_whole_group() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("alive");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        // The grandchild keeps the pipe's writing end open until it dies.
        let script = format!("{{ exec 3>'{}'; echo started; exec sleep 1000; }} & wait", fifo.display());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move { run(shell(&script), &|_| tell.send(()).unwrap()).await });
        let reader = tokio::task::spawn_blocking(move || std::fs::read(fifo));
        told.recv().await.unwrap();
        task.abort();
        assert_eq!(timeout(Duration::from_secs(60), reader).await.unwrap().unwrap().unwrap(), b"");
    }

    #[tokio::test]
    async fn a_process_left_behind_delays_nothing() {
        let finished = run(shell("sleep 1000 & echo $!"), &|_| {}).await.unwrap();
        assert_eq!(finished.status, ExitStatus::from_raw(0));
        let pid = Pid::from_raw(finished.tail[0].parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
