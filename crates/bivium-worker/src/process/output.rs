//! [`Output`]: a worker's stdout and stderr; each line becomes a log record.
//!
//! A task reads both pipes while the worker lives. When a call ends, whoever drives it reads what is in them then: the call has
//! printed that, and a line without an end ends with it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use bivium_interface::{CallId, LogLevel, LogSource};
use bivium_records::{InstanceLog, Line};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::worker::Fate;

/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;
/// As much as is read at the end of a call: what a pipe holds. One who writes without end is not waited for.
const AT_END: usize = 64 << 10;

/// The host's ends of both pipes.
pub(crate) struct Output {
    pipes: [Pipe; 2],
    log: Arc<InstanceLog>,
}

struct Pipe {
    end: Receiver,
    source: LogSource,
    read: Mutex<Read>,
}

/// What has come through a pipe.
struct Read {
    line: Line,
    piece: Box<[u8]>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Pipe {
    fn new(end: OwnedFd, source: LogSource) -> io::Result<Self> {
        let read = Read { line: Line::default(), piece: vec![0; PIECE].into() };
        Ok(Self { end: Receiver::from_owned_fd(end)?, source, read: Mutex::new(read) })
    }

    fn tell(&self, line: &str, log: &InstanceLog, fate: &Fate) {
        let level = match self.source {
            LogSource::Stderr => LogLevel::Warn,
            _ => LogLevel::Info,
        };
        if self.source == LogSource::Stderr {
            fate.stderr.push(line);
        }
        log.push(level, self.source, fate.only_call(), line);
    }

    /// Reads one piece with `take`; gives its length, which is nothing at the end of the pipe.
    fn read(
        &self,
        log: &InstanceLog,
        fate: &Fate,
        take: impl FnOnce(&Receiver, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // Held until the lines are told: they stay in order.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Read { line, piece } = &mut *read;
        let count = take(&self.end, piece)?;
        line.push(piece.get(..count).unwrap_or_default(), |line| self.tell(line, log, fate));
        Ok(count)
    }

    /// Reads until the pipe ends or breaks.
    async fn copy(&self, log: &InstanceLog, fate: &Fate) {
        while self.end.readable().await.is_ok() {
            match self.read(log, fate, Receiver::try_read) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {}
            }
        }
        self.end_line(log, fate);
    }

    /// Reads what there is. Not by the runtime's own reading, which waits for the runtime to have seen that there is something.
    fn drain(&self, log: &InstanceLog, fate: &Fate) {
        let mut left = AT_END;
        while left > 0 {
            match self.read(log, fate, |end, piece| Ok(rustix::io::read(end, piece)?)) {
                Ok(count @ 1..) => left = left.saturating_sub(count),
                Ok(0) | Err(_) => break,
            }
        }
    }

    fn end_line(&self, log: &InstanceLog, fate: &Fate) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.line.end(|line| self.tell(line, log, fate));
    }
}

impl Output {
    pub(crate) fn new(stdout: OwnedFd, stderr: OwnedFd, log: Arc<InstanceLog>) -> io::Result<Self> {
        Ok(Self { pipes: [Pipe::new(stdout, LogSource::Stdout)?, Pipe::new(stderr, LogSource::Stderr)?], log })
    }

    /// Reads both pipes to their ends; the task ends with the later of the two.
    pub(crate) fn follow(self: Arc<Self>, fate: Arc<Fate>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let [out, err] = &self.pipes;
            tokio::join!(out.copy(&self.log, &fate), err.copy(&self.log, &fate));
            self.log.settle(None);
        })
    }

    /// A call ends, and still counts as running: takes what it has printed. Where others run beside it nobody knows whose a
    /// line is that has no end yet.
    pub(crate) fn settle(&self, call: CallId, fate: &Fate) {
        for pipe in &self.pipes {
            pipe.drain(&self.log, fate);
            if fate.only_call() == Some(call) {
                pipe.end_line(&self.log, fate);
            }
        }
    }
}
