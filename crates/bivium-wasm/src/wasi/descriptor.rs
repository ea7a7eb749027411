//! WASI's own functions on files: each hands on to `wasmtime-wasi` what [`files`](super::files) lets through.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator};

use super::blob_files::{self, Named};
use super::files::{Denial, ENTRY, Fd, Use, again};
use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    types::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl preopens::Host for HostState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        self.directories()
    }
}

impl types::Host for HostState {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.filesystem().convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.filesystem().filesystem_error_code(error)
    }
}

/// Operations on a descriptor that are handed on; what they are denied is told.
macro_rules! handed_on {
    ($($name:ident($($argument:ident: $type:ty),*) $how:ident -> $result:ty;)*) => {
        $(async fn $name(&mut self, fd: Fd, $($argument: $type),*) -> FsResult<$result> {
            let result = self.filesystem().$name(again(&fd), $($argument),*).await;
            self.told(&fd, "", Use::$how, result)
        })*
    };
}

/// The same with a path.
macro_rules! handed_on_at {
    ($($name:ident([$($before:ident: $type:ty)?] path $(, $after:ident: $after_type:ty)*) $how:ident -> $result:ty;)*) => {
        $(async fn $name(
            &mut self, fd: Fd, $($before: $type,)? path: String $(, $after: $after_type)*
        ) -> FsResult<$result> {
            self.admit_path(&fd, &path).await?;
            let result = self.filesystem().$name(again(&fd), $($before,)? path.clone() $(, $after)*).await;
            self.told(&fd, &path, Use::$how, result)
        })*
    };
}

impl HostDescriptor for HostState {
    handed_on! {
        advise(offset: Filesize, len: Filesize, advice: Advice) Read -> ();
        sync_data() Read -> ();
        sync() Read -> ();
        get_flags() Read -> DescriptorFlags;
        get_type() Read -> DescriptorType;
        stat() Read -> DescriptorStat;
        read(len: Filesize, offset: Filesize) Read -> (Vec<u8>, bool);
        metadata_hash() Read -> MetadataHashValue;
        set_times(accessed: NewTimestamp, modified: NewTimestamp) Write -> ();
    }

    handed_on_at! {
        readlink_at([] path) Read -> String;
        set_times_at([flags: PathFlags] path, accessed: NewTimestamp, modified: NewTimestamp) Write -> ();
        remove_directory_at([] path) Write -> ();
        unlink_file_at([] path) Write -> ();
    }

    async fn stat_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        match self.blob(&fd, &path) {
            Named::Blob(_, blob) => Ok(blob_files::stat(&blob)),
            Named::Missing => Err(ErrorCode::NoEntry.into()),
            Named::Other => {
                self.admit_path(&fd, &path).await?;
                let result = self.filesystem().stat_at(again(&fd), flags, path.clone()).await;
                self.told(&fd, &path, Use::Read, result)
            }
        }
    }

    async fn metadata_hash_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        match self.blob(&fd, &path) {
            Named::Blob(n, _) => Ok(blob_files::hash(n)),
            Named::Missing => Err(ErrorCode::NoEntry.into()),
            Named::Other => {
                self.admit_path(&fd, &path).await?;
                let result = self.filesystem().metadata_hash_at(again(&fd), flags, path.clone()).await;
                self.told(&fd, &path, Use::Read, result)
            }
        }
    }

    async fn is_same_object(&mut self, a: Fd, b: Fd) -> wasmtime::Result<bool> {
        self.filesystem().is_same_object(a, b).await
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        self.admit_open()?;
        match self.blob(&fd, &path) {
            Named::Blob(_, blob) => return self.open_blob(&fd, &path, blob, how, flags).await,
            Named::Missing => return Err(ErrorCode::NoEntry.into()),
            Named::Other => {}
        }
        self.admit_path(&fd, &path).await?;
        match self.filesystem().stat_at(again(&fd), path_flags, path.clone()).await {
            Ok(DescriptorStat { type_, .. }) => {
                // A link that is not followed fails by itself.
                use DescriptorType::{Directory, RegularFile, SymbolicLink};
                if !matches!(type_, Directory | RegularFile | SymbolicLink) {
                    self.deny(&fd, &path, Denial::Special);
                    return Err(ErrorCode::NotPermitted.into());
                }
            }
            Err(_) if how.contains(OpenFlags::CREATE) => self.charge_file(&fd, ENTRY)?,
            // Opening it says what is wrong.
            Err(_) => {}
        }
        let writes = how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) || flags.contains(DescriptorFlags::WRITE);
        let result = self.filesystem().open_at(again(&fd), path_flags, path.clone(), how, flags).await;
        let opened = self.told(&fd, &path, if writes { Use::Write } else { Use::Read }, result)?;
        let opened = self.admit_opened(&fd, &path, opened).await?;
        self.note_open(&fd, &opened)?;
        Ok(opened)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.files.origins.remove(&fd.rep());
        HostDescriptor::drop(&mut self.filesystem(), fd)
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let result = self.filesystem().read_via_stream(again(&fd), offset);
        self.told(&fd, "", Use::Read, result)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let result = self.filesystem().write_via_stream(again(&fd), offset);
        let stream = self.told(&fd, "", Use::Write, result)?;
        self.metered(stream)
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let result = self.filesystem().append_via_stream(again(&fd));
        let stream = self.told(&fd, "", Use::Write, result)?;
        self.metered(stream)
    }

    async fn write(&mut self, fd: Fd, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.charge_file(&fd, bytes.len() as u64)?;
        let result = self.filesystem().write(again(&fd), bytes, offset).await;
        self.told(&fd, "", Use::Write, result)
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        let now = self.filesystem().stat(again(&fd)).await?.size;
        self.charge_file(&fd, size.saturating_sub(now))?;
        let result = self.filesystem().set_size(again(&fd), size).await;
        self.told(&fd, "", Use::Write, result)
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<ReaddirIterator>> {
        // A directory that was opened before may have been moved.
        self.admit_path(&fd, ".").await?;
        let count = self.prepare_list(&fd).await?;
        let result = self.filesystem().read_directory(again(&fd)).await;
        let list = self.told(&fd, "", Use::Read, result)?;
        self.files.lists.insert(list.rep(), count);
        Ok(list)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.admit_path(&fd, &path).await?;
        self.charge_file(&fd, ENTRY)?;
        let result = self.filesystem().create_directory_at(again(&fd), path.clone()).await;
        self.told(&fd, &path, Use::Write, result)
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        self.admit_path(&fd, &path).await?;
        let rights = Arc::clone(&self.rights);
        let _moves = rights.moves.lock().await;
        self.admit_symlink(&fd, &target, &path).await?;
        self.charge_file(&fd, ENTRY)?;
        let result = self.filesystem().symlink_at(again(&fd), target, path.clone()).await;
        self.told(&fd, &path, Use::Write, result)
    }

    async fn link_at(&mut self, fd: Fd, flags: PathFlags, path: String, to: Fd, new: String) -> FsResult<()> {
        self.within_one(&fd, &to, &path)?;
        self.admit_path(&fd, &path).await?;
        self.admit_path(&to, &new).await?;
        let rights = Arc::clone(&self.rights);
        let _moves = rights.moves.lock().await;
        self.admit_move(&fd, &path, &to, &new).await?;
        self.charge_file(&to, ENTRY)?;
        let result = self.filesystem().link_at(again(&fd), flags, path.clone(), again(&to), new).await;
        self.told(&fd, &path, Use::Write, result)
    }

    async fn rename_at(&mut self, fd: Fd, path: String, to: Fd, new: String) -> FsResult<()> {
        self.within_one(&fd, &to, &path)?;
        self.admit_path(&fd, &path).await?;
        self.admit_path(&to, &new).await?;
        let rights = Arc::clone(&self.rights);
        let _moves = rights.moves.lock().await;
        self.admit_move(&fd, &path, &to, &new).await?;
        let result = self.filesystem().rename_at(again(&fd), path.clone(), again(&to), new).await;
        self.told(&fd, &path, Use::Write, result)
    }
}

impl HostDirectoryEntryStream for HostState {
    async fn read_directory_entry(&mut self, list: Resource<ReaddirIterator>) -> FsResult<Option<DirectoryEntry>> {
        self.filesystem().read_directory_entry(list).await
    }

    fn drop(&mut self, list: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        self.files.lists.remove(&list.rep());
        HostDirectoryEntryStream::drop(&mut self.filesystem(), list)
    }
}
