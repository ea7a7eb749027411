//! Files beneath the granted directories: what lies between a guest and `wasmtime-wasi`.
//!
//! `wasmtime-wasi` does the work: it resolves every path beneath its directory (`..`, absolute paths and symbolic links
//! never leave it) and holds a read-only directory read-only. Added here is what it leaves to its host:
//!
//! - which granted directory a descriptor came from. A hard link or a rename from one into another is refused, as between
//!   two disks; what is denied is told with the permission that is missing.
//! - quotas: files held open (a stream holds its file too), entries of directories held in memory, bytes written.
//! - no symbolic link that leads out of its directory is made or moved there ([`links`](super::links));
//! - nothing of what no plugin may have is reached: where the kernel shows itself ([`kernel`]), the host's own files and those of
//!   other plugins ([`guarded`](super::guarded));
//! - no pipes, devices and sockets: opening or reading one can wait for ever on a thread that nothing can stop.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use bivium_interface::{Blob, PluginError};
use rustix::fs as unix;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynOutputStream, FsError, FsResult};
use wasmtime_wasi::runtime::spawn_blocking;

use super::blob_files::{self, BlobFiles, Named};
use super::kernel;
use super::metered::Metered;
use super::rights::{BLOB_FILES, Directory, FILESYSTEM};
use crate::state::HostState;
use crate::text;

/// What a new file, directory or link counts as written, however small: it takes about that on disk.
pub(super) const ENTRY: u64 = 4096;
/// Entries in the lists of directories that an instance holds: each list is made whole, in the host's memory.
pub(super) const MAX_LISTED: usize = 1 << 16;

pub(super) type Fd = Resource<Descriptor>;

/// The files of one instance.
#[derive(Default)]
pub(crate) struct Files {
    pub(super) origins: HashMap<u32, Origin>,
    /// Files and directories that were opened; a dead one is closed.
    open: Vec<Weak<File>>,
    /// The number of entries in each list.
    pub(super) lists: HashMap<u32, usize>,
    /// None until the guest asks for its directories.
    blob_files: Option<BlobFiles>,
    /// The blobs of the running call, where they are files.
    blobs: Vec<Blob>,
}

/// Which granted directory a descriptor came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// One of the manifest's, by its place in the list.
    Granted(usize),
    /// The blobs of the call.
    Blobs,
}

impl Files {
    /// Whether one more file may be opened.
    fn has_room(&mut self, most: usize) -> bool {
        if self.open.len() >= most {
            self.open.retain(|file| file.strong_count() > 0);
        }
        self.open.len() < most
    }
}

/// Why something is denied.
#[derive(Clone, Copy)]
pub(super) enum Denial {
    ReadOnly,
    Outside,
    Host,
    Special,
    Kernel,
    Protected,
}

/// Whether an operation changes anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

/// The same descriptor once more, to look at.
pub(super) fn again(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

impl HostState {
    /// The granted directories, as descriptors of their own.
    pub(super) fn directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        let rights = Arc::clone(&self.rights);
        if !self.store.witness.granted_once(FILESYSTEM, rights.directories.iter().map(|directory| &*directory.shown)) {
            return Ok(Vec::new());
        }
        let mut directories = Vec::with_capacity(rights.directories.len());
        for (index, directory) in rights.directories.iter().enumerate() {
            let fd = self.store.table.push(Descriptor::Dir(directory.dir.clone()))?;
            self.files.origins.insert(fd.rep(), Origin::Granted(index));
            directories.push((fd, directory.guest.clone()));
        }
        if rights.blob_files {
            let blobs = match self.files.blob_files.take() {
                Some(blobs) => blobs,
                None => BlobFiles::new(&self.exchange).map_err(|error| wasmtime::format_err!("{error}"))?,
            };
            if !self.store.witness.granted_once(BLOB_FILES, std::iter::once(&*blobs.directory.shown)) {
                return Ok(directories);
            }
            let fd = self.store.table.push(Descriptor::Dir(blobs.directory.dir.clone()))?;
            self.files.origins.insert(fd.rep(), Origin::Blobs);
            directories.push((fd, blobs.directory.guest.clone()));
            self.files.blob_files = Some(blobs);
        }
        Ok(directories)
    }

    /// Refuses one more open file where there are too many.
    pub(super) fn admit_open(&mut self) -> FsResult<()> {
        let most = self.store.limits.files;
        if self.files.has_room(most) {
            return Ok(());
        }
        let error = PluginError::resource_exhausted(format!("the plugin holds {most} files open, which is its limit"));
        self.store.witness.refuse(error.with_help("raise `limits.files` in its manifest"));
        Err(ErrorCode::Quota.into())
    }

    /// To be done before a directory is listed. Gives how many entries it has.
    pub(super) async fn prepare_list(&mut self, fd: &Fd) -> FsResult<usize> {
        if self.files.origins.get(&fd.rep()) == Some(&Origin::Blobs) {
            self.restore_blob_files()?;
        }
        if self.files.origins.get(&fd.rep()) == Some(&Origin::Blobs)
            && let Some(blob_files) = &self.files.blob_files
        {
            spawn_blocking(blob_files.lister(&self.files.blobs)).await?;
        }
        self.count_entries(fd).await
    }

    /// Makes the directory of blobs again if somebody has removed it, behind the descriptors that the guest has of it.
    fn restore_blob_files(&mut self) -> FsResult<()> {
        if self.files.blob_files.as_ref().is_none_or(BlobFiles::is_there) {
            return Ok(());
        }
        let blobs = BlobFiles::new(&self.exchange).map_err(|error| {
            self.store.witness.refuse(error);
            ErrorCode::Io
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

    /// The blobs of a call that begins.
    pub(crate) fn show_blobs(&mut self, blobs: &[Blob]) {
        if self.rights.blob_files {
            self.files.blobs = blobs.to_vec();
        }
    }

    /// The call has ended, and with it what its blobs are open as.
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

    /// The blob that a path means, if it lies in the directory of blobs.
    pub(super) fn blob(&self, fd: &Fd, path: &str) -> Named {
        match (self.files.origins.get(&fd.rep()), self.store.table.get(fd)) {
            (Some(Origin::Blobs), Ok(Descriptor::Dir(_))) => Named::find(path, &self.files.blobs),
            _ => Named::Other,
        }
    }

    /// The granted directory that a descriptor came from.
    pub(super) fn origin(&self, fd: &Fd) -> Option<&Directory> {
        match self.files.origins.get(&fd.rep())? {
            Origin::Granted(index) => self.rights.directories.get(*index),
            Origin::Blobs => self.files.blob_files.as_ref().map(|blobs| &blobs.directory),
        }
    }

    pub(super) fn deny(&mut self, fd: &Fd, path: &str, denial: Denial) {
        let Some(directory) = self.origin(fd) else { return };
        let (key, shown, guest) = (directory.key, directory.shown.clone(), text::name(&directory.guest));
        let (reason, cure) = match denial {
            Denial::ReadOnly if key == BLOB_FILES => (
                "the blobs of a call are there to be read",
                "write a blob through the world's `blob-writer`, or files where `permissions.filesystem` lets it"
                    .to_owned(),
            ),
            Denial::ReadOnly => (
                "it is granted for reading only",
                format!("`{key}` would have to grant {guest} with `\"mode\": \"write\"`"),
            ),
            Denial::Outside => (
                "a path leads out of the directory, or the operating system forbids it",
                format!("`{FILESYSTEM}` would have to name the directory that is meant"),
            ),
            Denial::Host => {
                ("the operating system forbids it to the host", format!("`{key}` gives no more than the host has"))
            }
            Denial::Kernel => (
                "the kernel shows itself there (as in /proc, /sys and /dev)",
                format!("`{key}` gives files and directories of disks"),
            ),
            Denial::Protected => (
                "the host has its own files there, or those of other plugins",
                format!("`{key}` gives a plugin what is its own"),
            ),
            Denial::Special => ("it is neither a file nor a directory", format!("`{key}` gives nothing else")),
        };
        let what = if path.is_empty() { guest } else { format!("`{}` in {guest}", text::name(path)) };
        let error = PluginError::denied(format!("the plugin may not use {what}: {reason}")).with_help(cure);
        self.store.witness.denied_once(key, &shown, reason, error);
    }

    /// Tells of what is denied.
    pub(super) fn told<T>(&mut self, fd: &Fd, path: &str, how: Use, result: FsResult<T>) -> FsResult<T> {
        if let Err(error) = &result {
            let denial = match error.downcast_ref() {
                Some(ErrorCode::NotPermitted | ErrorCode::ReadOnly) => {
                    let read_only = self.origin(fd).is_some_and(|directory| !directory.is_writable());
                    Some(if read_only && how == Use::Write { Denial::ReadOnly } else { Denial::Outside })
                }
                Some(ErrorCode::Access) => Some(Denial::Host),
                _ => None,
            };
            if let Some(denial) = denial {
                self.deny(fd, path, denial);
            }
        }
        result
    }

    /// Refuses what was opened if it lies where no plugin may reach.
    pub(super) async fn admit_opened(&mut self, fd: &Fd, path: &str, opened: Fd) -> FsResult<Fd> {
        let file = match self.store.table.get(&opened)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(dir) => Arc::clone(&dir.dir),
        };
        let guarded = self.origin(fd).and_then(|directory| directory.guarded.clone());
        let look = move || {
            if kernel::may_hold(&file) {
                return Some(Denial::Kernel);
            }
            guarded.is_some_and(|guarded| guarded.holds(&file)).then_some(Denial::Protected)
        };
        let Some(denial) = spawn_blocking(look).await else { return Ok(opened) };
        self.store.table.delete(opened)?;
        self.deny(fd, path, denial);
        Err(ErrorCode::NotPermitted.into())
    }

    /// Refuses a path that leads where no plugin may reach, for operations that open nothing.
    pub(super) async fn admit_path(&mut self, fd: &Fd, path: &str) -> FsResult<()> {
        let guarded = self.origin(fd).and_then(|directory| directory.guarded.clone());
        if let (Some(guarded), Descriptor::Dir(dir)) = (guarded, self.store.table.get(fd)?) {
            let (dir, path_there) = (Arc::clone(&dir.dir), path.to_owned());
            if spawn_blocking(move || guarded.is_reached(&dir, &path_there)).await {
                self.deny(fd, path, Denial::Protected);
                return Err(ErrorCode::NotPermitted.into());
            }
        }
        let Some((directory, _)) = path.trim_end_matches('/').rsplit_once('/') else { return Ok(()) };
        let leads = self.origin(fd).is_some_and(|directory| directory.leads_to_kernel);
        if !leads || directory.is_empty() {
            return Ok(());
        }
        let (follow, how) = (PathFlags::SYMLINK_FOLLOW, OpenFlags::DIRECTORY);
        let flags = DescriptorFlags::READ;
        // What cannot be opened is told by the operation itself.
        match self.filesystem().open_at(again(fd), follow, directory.to_owned(), how, flags).await {
            Ok(opened) => {
                let opened = self.admit_opened(fd, path, opened).await?;
                self.store.table.delete(opened)?;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Counts what was opened from `fd`.
    pub(super) fn note_open(&mut self, fd: &Fd, opened: &Fd) -> FsResult<()> {
        let file = match self.store.table.get(opened)? {
            Descriptor::File(file) => &file.file,
            Descriptor::Dir(dir) => &dir.dir,
        };
        self.files.open.push(Arc::downgrade(file));
        if let Some(origin) = self.files.origins.get(&fd.rep()).copied() {
            self.files.origins.insert(opened.rep(), origin);
        }
        Ok(())
    }

    pub(super) async fn open_blob(
        &mut self,
        fd: &Fd,
        path: &str,
        blob: Blob,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        let may = blob_files::check(how, flags).map_err(FsError::from);
        self.told(fd, path, Use::Write, may)?;
        let descriptor = spawn_blocking(move || blob_files::open(&blob)).await?;
        let opened = self.store.table.push(descriptor)?;
        self.note_open(fd, &opened)?;
        Ok(opened)
    }

    /// Books bytes that are going to be written, unless the directory lets none be.
    pub(super) fn charge_file(&mut self, fd: &Fd, bytes: u64) -> FsResult<()> {
        if !self.origin(fd).is_some_and(Directory::is_writable) {
            return Ok(());
        }
        self.store.written.charge(bytes).map_err(|error| {
            self.store.witness.refuse(error);
            ErrorCode::InsufficientSpace.into()
        })
    }

    /// Refuses what would go from one granted directory into another.
    pub(super) fn within_one(&mut self, old: &Fd, new: &Fd, path: &str) -> FsResult<()> {
        for fd in [old, new] {
            if self.origin(fd).is_some_and(|directory| !directory.is_writable()) {
                self.deny(fd, path, Denial::ReadOnly);
                return Err(ErrorCode::NotPermitted.into());
            }
        }
        if self.files.origins.get(&old.rep()) == self.files.origins.get(&new.rep()) {
            return Ok(());
        }
        Err(ErrorCode::CrossDevice.into())
    }

    /// A stream that counts what goes through it.
    pub(super) fn metered(&mut self, stream: Resource<DynOutputStream>) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.store.table.delete(stream)?;
        let metered: DynOutputStream = Box::new(Metered::new(inner, &self.store.written, &self.store.witness));
        Ok(self.store.table.push(metered)?)
    }

    /// How many entries a directory has, or an error if the instance would hold too many.
    async fn count_entries(&mut self, fd: &Fd) -> FsResult<usize> {
        let Descriptor::Dir(dir) = self.store.table.get(fd)? else { return Ok(0) };
        let dir = Arc::clone(&dir.dir);
        let held: usize = self.files.lists.values().sum();
        let room = MAX_LISTED.saturating_sub(held);
        let counted = spawn_blocking(move || count_entries(&dir, room)).await;
        match counted {
            Ok(Some(count)) => Ok(count),
            Ok(None) => {
                self.store.witness.refuse(PluginError::resource_exhausted(format!(
                    "the directories that the plugin lists have more than {MAX_LISTED} entries together"
                )));
                Err(ErrorCode::InsufficientMemory.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// None if there are more than `most`.
fn count_entries(dir: &File, most: usize) -> std::io::Result<Option<usize>> {
    let mut count = 0;
    for entry in unix::Dir::read_from(dir)? {
        entry?;
        count += 1;
        // `.` and `..` are among them.
        if count > most + 2 {
            return Ok(None);
        }
    }
    Ok(Some(count))
}
