//! [`Output`]: a worker's stdout and stderr; each line becomes a log record.
//!
//! A task reads both pipes while the worker lives. When a call ends, the code that ran it reads what is in them then: the call has
//! printed that, and an incomplete line ends with the call.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use bivium_interface::{CallId, LogLevel, LogSource};
use bivium_records::{InstanceLog, Line};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::process::ending::LastLines;
use crate::process::running::RunningCalls;

/// How many bytes are read at a time.
const PIECE: usize = 16 << 10;
/// How many bytes are read at the end of a call: the capacity of a pipe. A process that never stops writing is not waited for.
const AT_END: usize = 64 << 10;

/// The host's ends of both pipes.
pub(crate) struct Output {
    pipes: [Pipe; 2],
    told: Told,
}

/// Who is told of the lines.
pub(crate) struct Told {
    pub(crate) log: Arc<InstanceLog>,
    /// The calls that a line may belong to.
    pub(crate) running: Arc<RunningCalls>,
    /// Keeps the last lines of stderr.
    pub(crate) stderr: Arc<LastLines>,
}

struct Pipe {
    end: Receiver,
    source: LogSource,
    read: Mutex<Read>,
}

/// What was read from a pipe.
struct Read {
    line: Line,
    piece: Box<[u8]>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Told {
    fn tell(&self, source: LogSource, line: &str) {
        let level = match source {
            LogSource::Stderr => LogLevel::Warn,
            _ => LogLevel::Info,
        };
        if source == LogSource::Stderr {
            self.stderr.push(line);
        }
        self.log.push(level, source, self.running.only(), line);
    }
}

impl Pipe {
    fn new(end: OwnedFd, source: LogSource) -> io::Result<Self> {
        let read = Read { line: Line::default(), piece: vec![0; PIECE].into() };
        Ok(Self { end: Receiver::from_owned_fd(end)?, source, read: Mutex::new(read) })
    }

    /// Reads one piece with `take`; returns its length, which is 0 at the end of the pipe.
    fn read(&self, told: &Told, take: impl FnOnce(&Receiver, &mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        // Locked until the lines are in the log, so that they stay in order.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Read { line, piece } = &mut *read;
        let count = take(&self.end, piece)?;
        line.push(piece.get(..count).unwrap_or_default(), |line| told.tell(self.source, line));
        Ok(count)
    }

    /// Reads until the pipe ends or breaks.
    async fn copy(&self, told: &Told) {
        while self.end.readable().await.is_ok() {
            match self.read(told, Receiver::try_read) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {}
            }
        }
        self.end_line(told);
    }

    /// Reads what is in the pipe now. Not through the runtime, which would wait until it has noticed that there is something.
    fn drain(&self, told: &Told) {
        let mut left = AT_END;
        while left > 0 {
            match self.read(told, |end, piece| Ok(rustix::io::read(end, piece)?)) {
                Ok(count @ 1..) => left = left.saturating_sub(count),
                Ok(0) | Err(_) => break,
            }
        }
    }

    fn end_line(&self, told: &Told) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.line.end(|line| told.tell(self.source, line));
    }
}

impl Output {
    pub(crate) fn new(stdout: OwnedFd, stderr: OwnedFd, told: Told) -> io::Result<Self> {
        Ok(Self { pipes: [Pipe::new(stdout, LogSource::Stdout)?, Pipe::new(stderr, LogSource::Stderr)?], told })
    }

    /// Reads both pipes until they end; the task ends when both have ended.
    pub(crate) fn follow(self: Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let [out, err] = &self.pipes;
            tokio::join!(out.copy(&self.told), err.copy(&self.told));
            self.told.log.settle(None);
        })
    }

    /// To be called when a call ends, while it still counts as running: reads what it has printed. If other calls run at the same
    /// time, an incomplete line may belong to any of them, and is left.
    pub(crate) fn settle(&self, call: CallId) {
        for pipe in &self.pipes {
            pipe.drain(&self.told);
            if self.told.running.only() == Some(call) {
                pipe.end_line(&self.told);
            }
        }
    }
}
