//! [`Metered`]: a stream into a file, whose bytes are counted against the call's limit.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::store::{AccessRecorder, WriteQuota};

pub(super) struct Metered {
    inner: DynOutputStream,
    written: Arc<WriteQuota>,
    access: Arc<AccessRecorder>,
}

impl Metered {
    pub(super) fn new(inner: DynOutputStream, written: &Arc<WriteQuota>, access: &Arc<AccessRecorder>) -> Self {
        Self { inner, written: Arc::clone(written), access: Arc::clone(access) }
    }

    fn charge(&self, bytes: &Bytes) -> StreamResult<()> {
        self.written.charge(bytes.len() as u64).map_err(|error| {
            self.access.refuse(error);
            // The error of a full disk, since WASI's streams have no code for a quota.
            StreamError::LastOperationFailed(io::Error::from(rustix::io::Errno::NOSPC).into())
        })
    }
}

#[async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.charge(&bytes)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.charge(&bytes)?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
