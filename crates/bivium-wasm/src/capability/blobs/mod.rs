//! [`Blobs`]: the blobs that are lent for the running call, and those that the guest writes.

pub(crate) mod handle;

use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{Blob, PluginError, Result};
use wasmtime::component::Resource;

pub(crate) use handle::read_all;
use handle::{BlobHandle, OpenBlob, WriterHandle};

use crate::store::{StoreLimits, StoreState};

/// The media type of bytes of which nothing is known.
const BYTES: &str = "application/octet-stream";

/// The blobs of one instance.
pub(crate) struct Blobs {
    exchange: Exchange,
    /// Lent for the running call: dropping them ends the guest's handles.
    lent: Vec<Arc<OpenBlob>>,
}

impl Blobs {
    pub(crate) fn new(exchange: Exchange) -> Self {
        Self { exchange, lent: Vec::new() }
    }

    /// Refuses a call with more blobs than a guest may hold.
    pub(crate) fn admit(blobs: &[Blob], limits: &StoreLimits) -> Result<()> {
        // As many clones of them must fit too.
        let most = limits.blobs / 2;
        if blobs.len() <= most {
            return Ok(());
        }
        Err(PluginError::resource_exhausted(format!("the call brings {} blobs, over the limit of {most}", blobs.len()))
            .with_help("raise `limits.blobs`, twice that number, in the plugin's manifest"))
    }

    /// Lends blobs to the guest for the running call.
    pub(crate) fn lend(
        &mut self,
        store: &mut StoreState,
        blobs: Vec<Blob>,
    ) -> wasmtime::Result<Vec<Resource<BlobHandle>>> {
        let mut handles = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let open = OpenBlob::new(blob);
            handles.push(store.table.push(BlobHandle::Lent(Arc::downgrade(&open)))?);
            if store.call().is_some() {
                self.lent.push(open);
            }
        }
        Ok(handles)
    }

    /// Ends the handles that were lent.
    pub(crate) fn end_loans(&mut self) {
        self.lent.clear();
    }

    /// Appends bytes to a blob in the making.
    pub(crate) async fn write(
        &self,
        store: &mut StoreState,
        handle: &Resource<WriterHandle>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<()>> {
        if let Err(error) = charge(store, bytes.len()) {
            return Ok(Err(error));
        }
        Ok(store.table.get_mut(handle)?.write(&self.exchange, bytes).await)
    }

    /// Makes a blob of what was written.
    pub(crate) fn finish(
        &self,
        store: &mut StoreState,
        handle: Resource<WriterHandle>,
    ) -> wasmtime::Result<Result<Resource<BlobHandle>>> {
        match store.table.delete(handle)?.finish(&self.exchange) {
            Ok(blob) => Ok(Ok(store.table.push(blob)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Puts bytes of a result into blobs.
    pub(crate) async fn keep(&self, store: &mut StoreState, bytes: Vec<Vec<u8>>) -> Result<Vec<Blob>> {
        let most = store.limits.blobs;
        if bytes.len() > most {
            return Err(PluginError::resource_exhausted(format!(
                "the result has {} lists of bytes that are handed on as blobs, over the limit of {most} blobs",
                bytes.len()
            ))
            .with_help("raise `limits.blobs` in its manifest"));
        }
        let mut kept = Vec::with_capacity(bytes.len());
        for bytes in bytes {
            charge(store, bytes.len())?;
            let mut writer = WriterHandle::New { media_type: BYTES.to_owned() };
            writer.write(&self.exchange, bytes).await?;
            kept.push(writer.finish(&self.exchange)?.blob()?);
        }
        Ok(kept)
    }
}

/// Takes back the handles that the guest returns. All are taken, also where one of them has ended.
pub(crate) fn take(store: &mut StoreState, handles: Vec<Resource<BlobHandle>>) -> wasmtime::Result<Result<Vec<Blob>>> {
    let mut taken = Vec::with_capacity(handles.len());
    for handle in handles {
        taken.push(store.table.delete(handle)?.blob());
    }
    let blobs: Result<Vec<Blob>> = taken.into_iter().collect();
    Ok(blobs.map_err(|_| PluginError::protocol("the plugin hands back a blob that was lent for an earlier call")))
}

/// Books bytes that the guest writes into blobs.
fn charge(store: &StoreState, bytes: usize) -> Result<()> {
    // Outside of a call there is nobody to whom a blob could go.
    if store.call().is_none() {
        return Err(PluginError::denied("blobs can only be written during a call"));
    }
    store.written.charge(bytes as u64)
}
