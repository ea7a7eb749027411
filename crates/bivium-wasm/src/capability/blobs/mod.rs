//! [`Blobs`]: the blobs that are lent for the running call, and the blobs that the guest writes.

pub(crate) mod handle;

use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{Blob, PluginError, Result};
use wasmtime::component::Resource;

pub(crate) use handle::read_all;
use handle::{BlobHandle, OpenBlob, WriterHandle};

use crate::store::{StoreLimits, StoreState};

/// The media type of bytes of unknown content.
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
        // There must be space for as many clones.
        let most = limits.blobs / 2;
        if blobs.len() <= most {
            return Ok(());
        }
        Err(PluginError::resource_exhausted(format!("the call has {} blobs, over the limit of {most}", blobs.len()))
            .with_help("raise `limits.blobs` in the plugin's manifest; a call may have half as many blobs"))
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

    /// Appends bytes to a blob that is being written.
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

    /// Makes a blob from what was written.
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
                "the result has {} lists of bytes that become blobs, over the limit of {most} blobs",
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

/// Takes the handles that the guest returns. All are taken, even if one of them has ended.
pub(crate) fn take(store: &mut StoreState, handles: Vec<Resource<BlobHandle>>) -> wasmtime::Result<Result<Vec<Blob>>> {
    let mut taken = Vec::with_capacity(handles.len());
    for handle in handles {
        taken.push(store.table.delete(handle)?.blob());
    }
    let blobs: Result<Vec<Blob>> = taken.into_iter().collect();
    Ok(blobs.map_err(|_| PluginError::protocol("the plugin returned a blob that was lent for an earlier call")))
}

/// Counts bytes that the guest writes into blobs.
fn charge(store: &StoreState, bytes: usize) -> Result<()> {
    // Outside a call nobody could receive the blob.
    if store.call().is_none() {
        return Err(PluginError::denied("blobs can only be written during a call"));
    }
    store.written.charge(bytes as u64)
}
