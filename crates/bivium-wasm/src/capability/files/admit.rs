//! Checks before an operation, and after something was opened.

use std::sync::Arc;

use bivium_interface::PluginError;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, HostDescriptor as _, OpenFlags, PathFlags};
use wasmtime_wasi::runtime::spawn_blocking;

use super::directory::Directory;
use super::kernel;
use super::refused::{Denial, Refused};
use super::view::{Fd, FilesView};

/// How many written bytes a new file, directory or link counts for: about what it takes on disk.
pub(crate) const ENTRY: u64 = 4096;

impl FilesView<'_> {
    /// Refuses to open one more file past the limit.
    pub(crate) fn admit_open(&mut self) -> Result<(), Refused> {
        let most = self.store.limits.files;
        if self.files.has_room(most) {
            return Ok(());
        }
        let error = PluginError::resource_exhausted(format!("the plugin has {most} files open, which is its limit"));
        self.store.access.refuse(error.with_help("raise `limits.files` in its manifest"));
        Err(Refused::TooManyOpen)
    }

    /// Refuses what was opened if it lies in a place that no plugin may reach.
    pub(crate) async fn admit_opened(&mut self, fd: &Fd, path: &str, opened: Fd) -> Result<Fd, Refused> {
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
        Err(Refused::NotPermitted)
    }

    /// Refuses a path to a place that no plugin may reach, for operations that open nothing.
    pub(crate) async fn admit_path(&mut self, fd: &Fd, path: &str) -> Result<(), Refused> {
        let guarded = self.origin(fd).and_then(|directory| directory.guarded.clone());
        if let (Some(guarded), Descriptor::Dir(dir)) = (guarded, self.store.table.get(fd)?) {
            let (dir, path_there) = (Arc::clone(&dir.dir), path.to_owned());
            if spawn_blocking(move || guarded.is_reached(&dir, &path_there)).await {
                self.deny(fd, path, Denial::Protected);
                return Err(Refused::NotPermitted);
            }
        }
        let Some((directory, _)) = path.trim_end_matches('/').rsplit_once('/') else { return Ok(()) };
        let leads = self.origin(fd).is_some_and(|directory| directory.leads_to_kernel);
        if !leads || directory.is_empty() {
            return Ok(());
        }
        let (follow, how) = (PathFlags::SYMLINK_FOLLOW, OpenFlags::DIRECTORY);
        let (again, flags) = (Resource::new_borrow(fd.rep()), DescriptorFlags::READ);
        // If it cannot be opened, the operation itself reports that.
        match self.wasi().open_at(again, follow, directory.to_owned(), how, flags).await {
            Ok(opened) => {
                let opened = self.admit_opened(fd, path, opened).await?;
                self.store.table.delete(opened)?;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Refuses an operation between two granted directories.
    pub(crate) fn within_one(&mut self, old: &Fd, new: &Fd, path: &str) -> Result<(), Refused> {
        for fd in [old, new] {
            if self.is_read_only(fd) {
                self.deny(fd, path, Denial::ReadOnly);
                return Err(Refused::NotPermitted);
            }
        }
        if self.files.origins.get(&old.rep()) == self.files.origins.get(&new.rep()) {
            return Ok(());
        }
        Err(Refused::CrossDevice)
    }

    /// Counts bytes that are going to be written, unless the directory is read-only.
    pub(crate) fn charge(&mut self, fd: &Fd, bytes: u64) -> Result<(), Refused> {
        if !self.origin(fd).is_some_and(Directory::is_writable) {
            return Ok(());
        }
        self.store.written.charge(bytes).map_err(|error| {
            self.store.access.refuse(error);
            Refused::NoSpace
        })
    }
}
