//! [`ProgramIo`]: the arguments, the standard input and the standard output of a program in its call.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bivium_interface::{PluginError, Result};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// The most bytes of one write.
const MAX_WRITE: usize = 64 << 10;

/// The arguments and streams of a program in its call.
pub(crate) struct ProgramIo(Mutex<Streams>);

struct Streams {
    arguments: Vec<String>,
    input: Bytes,
    output: Vec<u8>,
    /// The most bytes of output.
    most: usize,
}

impl ProgramIo {
    /// `most` is the limit of the standard output, in bytes.
    pub(crate) fn new(most: usize) -> Self {
        let (arguments, input, output) = (Vec::new(), Bytes::new(), Vec::new());
        Self(Mutex::new(Streams { arguments, input, output, most }))
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call with these arguments, the program's name first, and this standard input.
    pub(crate) fn begin(&self, arguments: Vec<String>, input: Bytes) {
        let mut streams = self.streams();
        (streams.arguments, streams.input) = (arguments, input);
    }

    /// What was written on standard output.
    pub(crate) fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.streams().output)
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        self.streams().arguments.clone()
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut streams = self.streams();
        if streams.output.len() + bytes.len() > streams.most {
            return Err(PluginError::resource_exhausted(format!(
                "the program wrote more than {} MiB on standard output",
                streams.most >> 20
            ))
            .with_help(
                "raise `limits.payload_mb` in its manifest, or have it write into a file of `permissions.filesystem`",
            ));
        }
        streams.output.extend_from_slice(bytes);
        Ok(())
    }
}

/// A program's standard input. All streams on it share one position.
pub(super) struct Stdin(pub(super) Arc<ProgramIo>);

/// A program's standard output.
#[derive(Clone)]
pub(super) struct Stdout(pub(super) Arc<ProgramIo>);

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl Stdin {
    fn take(&self, most: usize) -> Bytes {
        let input = &mut self.0.streams().input;
        input.split_to(most.min(input.len()))
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {}
}

impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.take(size);
        if bytes.is_empty() && size > 0 { Err(StreamError::Closed) } else { Ok(bytes) }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        into.put_slice(&self.take(into.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes).map_err(|error| StreamError::Trap(wasmtime::Error::new(error)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.0.write(bytes).map(|()| bytes.len()).map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
