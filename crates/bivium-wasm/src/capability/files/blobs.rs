//! The blobs of the running call, if they are shown to the guest as files.

use std::sync::Arc;

use bivium_interface::Blob;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::runtime::spawn_blocking;

use super::blob_files::{self, BlobFiles, BlobName};
use super::refused::Refused;
use super::view::{Fd, FilesView, Origin};

impl FilesView<'_> {
    /// Makes the directory of blobs again if somebody has removed it, and updates the guest's descriptors of it.
    pub(super) fn restore_blob_files(&mut self) -> Result<(), Refused> {
        if self.files.blob_files.as_ref().is_none_or(BlobFiles::is_there) {
            return Ok(());
        }
        let blobs = BlobFiles::new(&self.files.exchange).map_err(|error| {
            self.store.access.refuse(error);
            Refused::Failed
        })?;
        let of_blobs = self.files.origins.iter().filter(|(_, origin)| **origin == Origin::Blobs);
        for (rep, _) in of_blobs {
            if let Ok(Descriptor::Dir(dir)) = self.store.table.get_mut(&Resource::new_borrow(*rep)) {
                *dir = blobs.directory.dir.clone();
            }
        }
        self.files.blob_files = Some(blobs);
        Ok(())
    }

    /// The call has ended: its blobs' open files read as empty from now on.
    pub(crate) fn hide_blobs(&mut self) {
        if self.files.blobs.is_empty() {
            return;
        }
        self.files.blobs.clear();
        let Some(blob_files) = &self.files.blob_files else { return };
        let from_blobs = self.files.origins.iter().filter(|(_, origin)| **origin == Origin::Blobs);
        for (rep, _) in from_blobs {
            if let Ok(Descriptor::File(file)) = self.store.table.get_mut(&Resource::new_borrow(*rep)) {
                file.file = Arc::clone(&blob_files.nothing);
            }
        }
    }

    /// The blob that a path names, if it lies in the directory of blobs.
    pub(crate) fn blob(&self, fd: &Fd, path: &str) -> BlobName {
        match (self.files.origins.get(&fd.rep()), self.store.table.get(fd)) {
            (Some(Origin::Blobs), Ok(Descriptor::Dir(_))) => BlobName::find(path, &self.files.blobs),
            _ => BlobName::Other,
        }
    }

    /// Opens a blob in the directory `fd` for reading.
    pub(crate) async fn open_blob(&mut self, fd: &Fd, blob: Blob) -> Result<Fd, Refused> {
        let descriptor = spawn_blocking(move || blob_files::open(&blob)).await?;
        let opened = self.store.table.push(descriptor)?;
        self.note_open(fd, &opened)?;
        Ok(opened)
    }
}
