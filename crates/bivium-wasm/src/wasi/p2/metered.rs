//! [`Metered`]: a stream into a file, counted against what one call may write.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::store::{Witness, Written};

pub(super) struct Metered {
    inner: DynOutputStream,
    written: Arc<Written>,
    witness: Arc<Witness>,
}

impl Metered {
    pub(super) fn new(inner: DynOutputStream, written: &Arc<Written>, witness: &Arc<Witness>) -> Self {
        Self { inner, written: Arc::clone(written), witness: Arc::clone(witness) }
    }

    fn charge(&self, bytes: &Bytes) -> StreamResult<()> {
        self.written.charge(bytes.len() as u64).map_err(|error| {
            self.witness.refuse(error);
            // As a full disk: no code of WASI's streams says "quota".
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
