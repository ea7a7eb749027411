//! Lists of the granted directories, and of the entries of a directory.

use std::fs::File;
use std::sync::Arc;

use bivium_interface::PluginError;
use rustix::fs as unix;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::runtime::spawn_blocking;

use super::blob_files::BlobFiles;
use super::directory::{BLOB_FILES, FILESYSTEM};
use super::refused::Refused;
use super::view::{Fd, FilesView, Origin};

/// The most entries in all listings that an instance holds: each listing is made as a whole in the host's memory.
pub(super) const MAX_LISTED: usize = 1 << 16;

impl FilesView<'_> {
    /// The granted directories, each as a new descriptor.
    pub(crate) fn directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        let Self { files, store } = self;
        let grant = Arc::clone(&files.grant);
        if !store.access.granted_once(FILESYSTEM, grant.directories.iter().map(|directory| &*directory.shown)) {
            return Ok(Vec::new());
        }
        let mut directories = Vec::with_capacity(grant.directories.len());
        for (index, directory) in grant.directories.iter().enumerate() {
            let fd = store.table.push(Descriptor::Dir(directory.dir.clone()))?;
            files.origins.insert(fd.rep(), Origin::Granted(index));
            directories.push((fd, directory.guest.clone()));
        }
        if grant.blob_files {
            let blobs = match files.blob_files.take() {
                Some(blobs) => blobs,
                None => BlobFiles::new(&files.exchange).map_err(|error| wasmtime::format_err!("{error}"))?,
            };
            if !store.access.granted_once(BLOB_FILES, std::iter::once(&*blobs.directory.shown)) {
                return Ok(directories);
            }
            let fd = store.table.push(Descriptor::Dir(blobs.directory.dir.clone()))?;
            files.origins.insert(fd.rep(), Origin::Blobs);
            directories.push((fd, blobs.directory.guest.clone()));
            files.blob_files = Some(blobs);
        }
        Ok(directories)
    }

    /// Must be called before a directory is listed. Returns how many entries it has.
    pub(crate) async fn prepare_list(&mut self, fd: &Fd) -> Result<usize, Refused> {
        if self.files.origins.get(&fd.rep()) == Some(&Origin::Blobs) {
            self.restore_blob_files()?;
            if let Some(blob_files) = &self.files.blob_files {
                spawn_blocking(blob_files.lister(&self.files.blobs)).await?;
            }
        }
        self.count_entries(fd).await
    }

    /// How many entries a directory has, or an error if the instance would hold too many.
    async fn count_entries(&mut self, fd: &Fd) -> Result<usize, Refused> {
        let Descriptor::Dir(dir) = self.store.table.get(fd)? else { return Ok(0) };
        let dir = Arc::clone(&dir.dir);
        let held: usize = self.files.lists.values().sum();
        let left = MAX_LISTED.saturating_sub(held);
        let counted = spawn_blocking(move || count_entries(&dir, left)).await?;
        counted.ok_or_else(|| {
            self.store.access.refuse(PluginError::resource_exhausted(format!(
                "the directories that the plugin lists have more than {MAX_LISTED} entries in all"
            )));
            Refused::TooMuch
        })
    }
}

/// None if there are more than `most`.
fn count_entries(dir: &File, most: usize) -> std::io::Result<Option<usize>> {
    let mut count = 0;
    for entry in unix::Dir::read_from(dir)? {
        entry?;
        count += 1;
        // `.` and `..` are counted too.
        if count > most + 2 {
            return Ok(None);
        }
    }
    Ok(Some(count))
}
