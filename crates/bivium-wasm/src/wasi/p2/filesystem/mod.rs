//! `wasi:filesystem`: each function passes on to `wasmtime-wasi` what [`files`](crate::capability::files) allows.

mod convert;

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator};

use super::metered::Metered;
use crate::capability::files::{BlobName, Denial, ENTRY, Fd, Refused};
use crate::state::HostState;
use convert::{for_reading, hash, stat};

/// Whether an operation changes anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The same descriptor again, as a borrowed handle.
fn again(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    types::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl preopens::Host for HostState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        self.files().directories()
    }
}

impl types::Host for HostState {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.files().wasi().convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.files().wasi().filesystem_error_code(error)
    }
}

/// Operations on a descriptor that are passed on; denials are reported.
macro_rules! forwarded {
    ($($name:ident($($argument:ident: $type:ty),*) $how:ident -> $result:ty;)*) => {
        $(async fn $name(&mut self, fd: Fd, $($argument: $type),*) -> FsResult<$result> {
            let result = self.files().wasi().$name(again(&fd), $($argument),*).await;
            self.report(&fd, "", Access::$how, result)
        })*
    };
}

/// The same with a path.
macro_rules! forwarded_at {
    ($($name:ident([$($before:ident: $type:ty)?] path $(, $after:ident: $after_type:ty)*) $how:ident -> $result:ty;)*) => {
        $(async fn $name(
            &mut self, fd: Fd, $($before: $type,)? path: String $(, $after: $after_type)*
        ) -> FsResult<$result> {
            self.files().admit_path(&fd, &path).await?;
            let result = self.files().wasi().$name(again(&fd), $($before,)? path.clone() $(, $after)*).await;
            self.report(&fd, &path, Access::$how, result)
        })*
    };
}

impl HostDescriptor for HostState {
    forwarded! {
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

    forwarded_at! {
        readlink_at([] path) Read -> String;
        set_times_at([flags: PathFlags] path, accessed: NewTimestamp, modified: NewTimestamp) Write -> ();
        remove_directory_at([] path) Write -> ();
        unlink_file_at([] path) Write -> ();
    }

    async fn stat_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        match self.files().blob(&fd, &path) {
            BlobName::Blob(_, blob) => Ok(stat(&blob)),
            BlobName::Missing => Err(ErrorCode::NoEntry.into()),
            BlobName::Other => {
                self.files().admit_path(&fd, &path).await?;
                let result = self.files().wasi().stat_at(again(&fd), flags, path.clone()).await;
                self.report(&fd, &path, Access::Read, result)
            }
        }
    }

    async fn metadata_hash_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        match self.files().blob(&fd, &path) {
            BlobName::Blob(n, _) => Ok(hash(n)),
            BlobName::Missing => Err(ErrorCode::NoEntry.into()),
            BlobName::Other => {
                self.files().admit_path(&fd, &path).await?;
                let result = self.files().wasi().metadata_hash_at(again(&fd), flags, path.clone()).await;
                self.report(&fd, &path, Access::Read, result)
            }
        }
    }

    async fn is_same_object(&mut self, a: Fd, b: Fd) -> wasmtime::Result<bool> {
        self.files().wasi().is_same_object(a, b).await
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        self.files().admit_open()?;
        match self.files().blob(&fd, &path) {
            BlobName::Blob(_, blob) => {
                self.report(&fd, &path, Access::Write, for_reading(how, flags))?;
                return Ok(self.files().open_blob(&fd, blob).await?);
            }
            BlobName::Missing => return Err(ErrorCode::NoEntry.into()),
            BlobName::Other => {}
        }
        self.files().admit_path(&fd, &path).await?;
        match self.files().wasi().stat_at(again(&fd), path_flags, path.clone()).await {
            Ok(DescriptorStat { type_, .. }) => {
                // Opening a link without following it fails by itself.
                use DescriptorType::{Directory, RegularFile, SymbolicLink};
                if !matches!(type_, Directory | RegularFile | SymbolicLink) {
                    self.files().deny(&fd, &path, Denial::Special);
                    return Err(Refused::NotPermitted.into());
                }
            }
            Err(_) if how.contains(OpenFlags::CREATE) => self.files().charge(&fd, ENTRY)?,
            // Opening it reports what is wrong.
            Err(_) => {}
        }
        let writes = how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) || flags.contains(DescriptorFlags::WRITE);
        let result = self.files().wasi().open_at(again(&fd), path_flags, path.clone(), how, flags).await;
        let opened = self.report(&fd, &path, if writes { Access::Write } else { Access::Read }, result)?;
        let opened = self.files().admit_opened(&fd, &path, opened).await?;
        self.files().note_open(&fd, &opened)?;
        Ok(opened)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.files.forget(&fd);
        HostDescriptor::drop(&mut self.files().wasi(), fd)
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let result = self.files().wasi().read_via_stream(again(&fd), offset);
        self.report(&fd, "", Access::Read, result)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let result = self.files().wasi().write_via_stream(again(&fd), offset);
        let stream = self.report(&fd, "", Access::Write, result)?;
        self.metered(stream)
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let result = self.files().wasi().append_via_stream(again(&fd));
        let stream = self.report(&fd, "", Access::Write, result)?;
        self.metered(stream)
    }

    async fn write(&mut self, fd: Fd, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.files().charge(&fd, bytes.len() as u64)?;
        let result = self.files().wasi().write(again(&fd), bytes, offset).await;
        self.report(&fd, "", Access::Write, result)
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        let now = self.files().wasi().stat(again(&fd)).await?.size;
        self.files().charge(&fd, size.saturating_sub(now))?;
        let result = self.files().wasi().set_size(again(&fd), size).await;
        self.report(&fd, "", Access::Write, result)
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<ReaddirIterator>> {
        // A directory that was opened earlier may have been moved.
        self.files().admit_path(&fd, ".").await?;
        let count = self.files().prepare_list(&fd).await?;
        let result = self.files().wasi().read_directory(again(&fd)).await;
        let list = self.report(&fd, "", Access::Read, result)?;
        self.files.note_list(list.rep(), count);
        Ok(list)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.files().admit_path(&fd, &path).await?;
        self.files().charge(&fd, ENTRY)?;
        let result = self.files().wasi().create_directory_at(again(&fd), path.clone()).await;
        self.report(&fd, &path, Access::Write, result)
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        self.files().admit_path(&fd, &path).await?;
        let _moving = self.files().admit_symlink(&fd, &target, &path).await?;
        self.files().charge(&fd, ENTRY)?;
        let result = self.files().wasi().symlink_at(again(&fd), target, path.clone()).await;
        self.report(&fd, &path, Access::Write, result)
    }

    async fn link_at(&mut self, fd: Fd, flags: PathFlags, path: String, to: Fd, new: String) -> FsResult<()> {
        self.files().within_one(&fd, &to, &path)?;
        self.files().admit_path(&fd, &path).await?;
        self.files().admit_path(&to, &new).await?;
        let _moving = self.files().admit_move(&fd, &path, &to, &new).await?;
        self.files().charge(&to, ENTRY)?;
        let result = self.files().wasi().link_at(again(&fd), flags, path.clone(), again(&to), new).await;
        self.report(&fd, &path, Access::Write, result)
    }

    async fn rename_at(&mut self, fd: Fd, path: String, to: Fd, new: String) -> FsResult<()> {
        self.files().within_one(&fd, &to, &path)?;
        self.files().admit_path(&fd, &path).await?;
        self.files().admit_path(&to, &new).await?;
        let _moving = self.files().admit_move(&fd, &path, &to, &new).await?;
        let result = self.files().wasi().rename_at(again(&fd), path.clone(), again(&to), new).await;
        self.report(&fd, &path, Access::Write, result)
    }
}

impl HostDirectoryEntryStream for HostState {
    async fn read_directory_entry(&mut self, list: Resource<ReaddirIterator>) -> FsResult<Option<DirectoryEntry>> {
        self.files().wasi().read_directory_entry(list).await
    }

    fn drop(&mut self, list: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        self.files.forget_list(list.rep());
        HostDirectoryEntryStream::drop(&mut self.files().wasi(), list)
    }
}

impl HostState {
    /// Reports a denied operation.
    fn report<T>(&mut self, fd: &Fd, path: &str, how: Access, result: FsResult<T>) -> FsResult<T> {
        if let Err(error) = &result {
            let mut files = self.files();
            let denial = match error.downcast_ref() {
                Some(ErrorCode::NotPermitted | ErrorCode::ReadOnly) => {
                    Some(if files.is_read_only(fd) && how == Access::Write {
                        Denial::ReadOnly
                    } else {
                        Denial::Outside
                    })
                }
                Some(ErrorCode::Access) => Some(Denial::Host),
                _ => None,
            };
            if let Some(denial) = denial {
                files.deny(fd, path, denial);
            }
        }
        result
    }

    /// A stream that counts the bytes written to it.
    fn metered(&mut self, stream: Resource<DynOutputStream>) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.store.table.delete(stream)?;
        let metered: DynOutputStream = Box::new(Metered::new(inner, &self.store.written, &self.store.access));
        Ok(self.store.table.push(metered)?)
    }
}
