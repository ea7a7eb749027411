//! The host's side of a guest's handles to blobs, for every version of the world.
//!
//! A handle is a capability. A handle that was lent for a call holds its blob weakly: the call owns the blob, and when the call
//! ends the handle and all its clones stop working. A blob that the guest wrote belongs to the guest until it drops the handle or
//! returns it.
//!
//! The exchange's own files lie in memory or on a local disk. A read of at most 1 MiB, and a small write, is done in place, since
//! handing it to another thread costs more than the work. A file that a caller passed by reference may lie anywhere, for example
//! on a network that does not answer: it is read on a blocking thread, under the call's deadline.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock, Weak};

use bivium_exchange::{BlobWriter, Exchange};
use bivium_instances::document::blocking;
use bivium_interface::{Blob, PluginError, Result};

/// The most bytes that one read returns.
const MAX_READ: u32 = 1 << 20;
/// The most bytes that are written in place.
const WRITE_IN_PLACE: usize = 256 << 10;

/// A blob and its file, which is opened at the first read.
#[expect(unreachable_pub)]
pub struct OpenBlob {
    blob: Blob,
    file: OnceLock<File>,
}

impl OpenBlob {
    pub(crate) fn new(blob: Blob) -> Arc<Self> {
        Arc::new(Self { blob, file: OnceLock::new() })
    }

    fn read(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let file = self.blob.open()?;
                self.file.get_or_init(|| file)
            }
        };
        bivium_exchange::read_at(file, offset, len as usize)
    }
}

/// A guest's handle to a blob. (`pub` because generated code re-exports it, in a private module.)
#[derive(Clone)]
#[expect(unreachable_pub)]
pub enum BlobHandle {
    /// Made by the guest.
    Own(Arc<OpenBlob>),
    /// Lent for a call.
    Lent(Weak<OpenBlob>),
}

impl BlobHandle {
    /// The blob, or `denied` once the call that lent it has ended.
    fn open(&self) -> Result<Arc<OpenBlob>> {
        let open = match self {
            Self::Own(open) => Some(Arc::clone(open)),
            Self::Lent(open) => open.upgrade(),
        };
        open.ok_or_else(|| PluginError::denied("this blob was lent for a call that has ended"))
    }

    pub(crate) fn blob(&self) -> Result<Blob> {
        Ok(self.open()?.blob.clone())
    }

    pub(crate) async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>> {
        let open = self.open()?;
        let len = len.min(MAX_READ);
        let read = if open.blob.is_owned() {
            open.read(offset, len)
        } else {
            blocking(move || open.read(offset, len)).await?
        };
        read.map_err(unreadable)
    }
}

/// The whole content of a blob. Blocks: see the module's description.
pub(crate) fn read_all(blob: &Blob) -> Result<Vec<u8>> {
    let len = usize::try_from(blob.size()).unwrap_or(usize::MAX);
    blob.open().and_then(|file| bivium_exchange::read_at(&file, 0, len)).map_err(unreadable)
}

fn unreadable(error: io::Error) -> PluginError {
    match error.kind() {
        io::ErrorKind::NotFound => PluginError::not_found("the blob's file is gone"),
        io::ErrorKind::PermissionDenied => PluginError::denied("the blob's file may not be read"),
        // Without the path, which the plugin should not know.
        _ => PluginError::unavailable(format!("the blob cannot be read: {error}")),
    }
}

/// A guest's handle to a blob that is being written. Its file is made at the first write, since a constructor cannot fail.
#[expect(unreachable_pub)]
pub enum WriterHandle {
    New {
        media_type: String,
    },
    Open(Box<BlobWriter>),
    /// A write failed or was abandoned. Further writes fail.
    Broken,
}

impl WriterHandle {
    /// Appends all of `bytes`.
    pub(crate) async fn write(&mut self, exchange: &Exchange, bytes: Vec<u8>) -> Result<()> {
        let mut writer = self.take(exchange)?;
        if bytes.len() <= WRITE_IN_PLACE {
            writer.append(&bytes)?;
        } else {
            writer = blocking(move || writer.append(&bytes).map(|()| writer)).await??;
        }
        *self = Self::Open(writer);
        Ok(())
    }

    /// Ends the writing and makes the blob.
    pub(crate) fn finish(mut self, exchange: &Exchange) -> Result<BlobHandle> {
        let blob = self.take(exchange)?.finish()?;
        Ok(BlobHandle::Own(OpenBlob::new(blob)))
    }

    fn take(&mut self, exchange: &Exchange) -> Result<Box<BlobWriter>> {
        match std::mem::replace(self, Self::Broken) {
            Self::New { media_type } => Ok(Box::new(exchange.writer(&media_type)?)),
            Self::Open(writer) => Ok(writer),
            Self::Broken => Err(PluginError::invalid_input("an earlier write to this blob failed; begin another")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;

    #[tokio::test]
    async fn a_lent_handle_and_its_clones_end_with_the_call() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        std::fs::write(&path, b"0123456789").unwrap();
        let lent = OpenBlob::new(Blob::by_reference(&path, None).unwrap());
        let handle = BlobHandle::Lent(Arc::downgrade(&lent));
        let clone = handle.clone();
        assert_eq!(clone.read(8, 100).await.unwrap(), b"89");
        drop(lent);
        for handle in [handle, clone] {
            assert_eq!(handle.read(0, 1).await.unwrap_err().code(), ErrorCode::Denied);
            assert_eq!(handle.blob().unwrap_err().code(), ErrorCode::Denied);
        }
    }
}
