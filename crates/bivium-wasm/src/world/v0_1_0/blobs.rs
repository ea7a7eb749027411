//! The host's implementation of `blobs`.
//!
//! wasmtime has checked that each handle belongs to the guest and has the right type; an error of the table is therefore a fault of the
//! host and traps.

use bivium_interface::clip;
use wasmtime::component::Resource;

use super::wit;
use crate::capability::blobs::handle::{BlobHandle, WriterHandle};
use crate::state::HostState;

/// Longer than any media type may be.
const MAX_MEDIA_TYPE: usize = 1024;

impl wit::blobs::Host for HostState {}

impl wit::blobs::HostBlob for HostState {
    fn media_type(&mut self, handle: Resource<BlobHandle>) -> wasmtime::Result<String> {
        // After its call has ended a handle has neither type nor size; its `read` returns the error.
        Ok(self.store.table.get(&handle)?.blob().map(|blob| blob.media_type().to_owned()).unwrap_or_default())
    }

    fn size(&mut self, handle: Resource<BlobHandle>) -> wasmtime::Result<u64> {
        Ok(self.store.table.get(&handle)?.blob().map_or(0, |blob| blob.size()))
    }

    async fn read(
        &mut self,
        handle: Resource<BlobHandle>,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::types::Error>> {
        Ok(self.store.table.get(&handle)?.read(offset, len).await.map_err(Into::into))
    }

    fn clone(&mut self, handle: Resource<BlobHandle>) -> wasmtime::Result<Resource<BlobHandle>> {
        let clone = self.store.table.get(&handle)?.clone();
        Ok(self.store.table.push(clone)?)
    }

    fn drop(&mut self, handle: Resource<BlobHandle>) -> wasmtime::Result<()> {
        self.store.table.delete(handle)?;
        Ok(())
    }
}

impl wit::blobs::HostBlobWriter for HostState {
    fn new(&mut self, media_type: String) -> wasmtime::Result<Resource<WriterHandle>> {
        // A longer text is not a media type, and the first write refuses it; the handle keeps no more of it.
        let media_type = clip(media_type, MAX_MEDIA_TYPE);
        Ok(self.store.table.push(WriterHandle::New { media_type })?)
    }

    async fn write(
        &mut self,
        handle: Resource<WriterHandle>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wit::types::Error>> {
        Ok(self.blobs.write(&mut self.store, &handle, bytes).await?.map_err(Into::into))
    }

    fn finish(
        &mut self,
        handle: Resource<WriterHandle>,
    ) -> wasmtime::Result<Result<Resource<BlobHandle>, wit::types::Error>> {
        Ok(self.blobs.finish(&mut self.store, handle)?.map_err(Into::into))
    }

    fn drop(&mut self, handle: Resource<WriterHandle>) -> wasmtime::Result<()> {
        self.store.table.delete(handle)?;
        Ok(())
    }
}
