//! Standard output and standard error: what a guest prints becomes log records.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bivium_interface::{LogLevel, LogSource};
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log::GuestLog;

/// A standard output whose lines become log records. Every stream that the guest opens on it is the same one.
#[derive(Clone)]
pub(super) struct LineStream(Arc<Sink>);

struct Sink {
    log: Arc<GuestLog>,
    level: LogLevel,
    source: LogSource,
    /// The line that has no end yet.
    line: Mutex<Vec<u8>>,
}

/// The longest line; what is longer comes in pieces of this length.
const MAX_LINE: usize = 8 << 10;
/// Bytes that one write may bring.
const MAX_WRITE: usize = 64 << 10;

impl LineStream {
    pub(super) fn new(log: &Arc<GuestLog>, level: LogLevel, source: LogSource) -> Self {
        Self(Arc::new(Sink { log: Arc::clone(log), level, source, line: Mutex::default() }))
    }

    fn line(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = self.line();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, ended) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            for part in piece.chunks(MAX_LINE) {
                if line.len() + part.len() > MAX_LINE {
                    self.emit(&mut line);
                }
                line.extend_from_slice(part);
            }
            if ended {
                self.emit(&mut line);
            }
        }
    }

    fn emit(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            self.0.log.write(self.0.level, self.0.source, text);
        }
        line.clear();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let line = std::mem::take(self.line.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !line.is_empty() {
            self.log.write(self.level, self.source, &String::from_utf8_lossy(&line));
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_instances::PluginLog;

    #[test]
    fn lines_are_cut_at_their_ends_and_at_the_longest() {
        let log = PluginLog::new("p");
        let guest = Arc::new(GuestLog::new(log.clone(), 1, 1000));
        let stream = LineStream::new(&guest, LogLevel::Info, LogSource::Stdout);
        stream.push(b"one\r\ntw");
        stream.push(b"o\n\nthree");
        stream.push(&vec![b'x'; 2 * MAX_LINE]);
        drop(stream);
        let messages: Vec<String> = log.tail(10).into_iter().map(|record| record.message).collect();
        assert_eq!(messages[..2], ["one", "two"]);
        assert!(messages[2].starts_with("three"));
        assert!(messages.iter().all(|message| message.len() <= MAX_LINE));
        let all: usize = messages.iter().map(String::len).sum();
        assert_eq!(all, "onetwothree".len() + 2 * MAX_LINE);
    }
}
