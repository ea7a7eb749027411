//! [`Files`]: the files of one instance, and [`FilesView`]: the same with its store.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use bivium_exchange::Exchange;
use bivium_interface::{Blob, PluginError};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView};

use super::blob_files::BlobFiles;
use super::directory::Directory;
use super::grant::FilesGrant;
use super::refused::{Denial, Refused};
use crate::store::StoreState;
use crate::text;

pub(crate) type Fd = Resource<Descriptor>;

/// The files of one instance.
pub(crate) struct Files {
    pub(super) grant: Arc<FilesGrant>,
    pub(super) exchange: Exchange,
    wasi: WasiFilesystemCtx,
    pub(super) origins: HashMap<u32, Origin>,
    /// Files and directories that were opened; one without owners is closed.
    open: Vec<Weak<File>>,
    /// The number of entries in each listing.
    pub(super) lists: HashMap<u32, usize>,
    /// None until the guest asks for its directories.
    pub(super) blob_files: Option<BlobFiles>,
    /// The blobs of the running call, if they are shown as files.
    pub(super) blobs: Vec<Blob>,
}

/// Which granted directory a descriptor came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A directory of the manifest, by its index.
    Granted(usize),
    /// The directory of the call's blobs.
    Blobs,
}

impl Files {
    pub(crate) fn new(grant: Arc<FilesGrant>, exchange: Exchange) -> Self {
        Self {
            grant,
            exchange,
            wasi: WasiFilesystemCtx::default(),
            origins: HashMap::new(),
            open: Vec::new(),
            lists: HashMap::new(),
            blob_files: None,
            blobs: Vec::new(),
        }
    }

    /// Whether one more file may be opened.
    pub(super) fn has_room(&mut self, most: usize) -> bool {
        if self.open.len() >= most {
            self.open.retain(|file| file.strong_count() > 0);
        }
        self.open.len() < most
    }

    /// Shows the blobs of a call that begins.
    pub(crate) fn show(&mut self, blobs: &[Blob]) {
        if self.grant.blob_files {
            self.blobs = blobs.to_vec();
        }
    }

    /// Called when a descriptor is dropped.
    pub(crate) fn forget(&mut self, fd: &Fd) {
        self.origins.remove(&fd.rep());
    }

    /// Called when a listing with so many entries is made.
    pub(crate) fn note_list(&mut self, list: u32, entries: usize) {
        self.lists.insert(list, entries);
    }

    /// Called when a listing is dropped.
    pub(crate) fn forget_list(&mut self, list: u32) {
        self.lists.remove(&list);
    }
}

/// The files of one instance, with its store.
pub(crate) struct FilesView<'a> {
    pub(crate) files: &'a mut Files,
    pub(crate) store: &'a mut StoreState,
}

impl FilesView<'_> {
    /// The view that the functions of `wasmtime-wasi` need.
    pub(crate) fn wasi(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.files.wasi, table: &mut self.store.table }
    }

    /// The granted directory that a descriptor came from.
    pub(super) fn origin(&self, fd: &Fd) -> Option<&Directory> {
        match self.files.origins.get(&fd.rep())? {
            Origin::Granted(index) => self.files.grant.directories.get(*index),
            Origin::Blobs => self.files.blob_files.as_ref().map(|blobs| &blobs.directory),
        }
    }

    /// Whether the descriptor came from a directory that is granted for reading only.
    pub(crate) fn is_read_only(&self, fd: &Fd) -> bool {
        self.origin(fd).is_some_and(|directory| !directory.is_writable())
    }

    /// Reports what is denied.
    pub(crate) fn deny(&mut self, fd: &Fd, path: &str, denial: Denial) {
        let Some(directory) = self.origin(fd) else { return };
        let guest = text::name(&directory.guest);
        let (reason, cure) = denial.explain(directory, &guest);
        let (key, shown) = (directory.key, directory.shown.clone());
        let error = PluginError::denied(Denial::message(reason, &guest, path)).with_help(cure);
        self.store.access.denied_once(key, &shown, reason, error);
    }

    /// Counts a file or directory that was opened from `fd`.
    pub(crate) fn note_open(&mut self, fd: &Fd, opened: &Fd) -> Result<(), Refused> {
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
}
