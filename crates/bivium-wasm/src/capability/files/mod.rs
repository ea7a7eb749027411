//! Files beneath the granted directories: what lies between a guest and `wasmtime-wasi`.
//!
//! `wasmtime-wasi` does the work: it resolves every path beneath its directory (`..`, absolute paths and symbolic links
//! never leave it) and holds a read-only directory read-only. Added here is what it leaves to its host:
//!
//! - which granted directory a descriptor came from. A hard link or a rename from one into another is refused, as between
//!   two disks; what is denied is told with the permission that is missing.
//! - quotas: files held open (a stream holds its file too), entries of directories held in memory, bytes written.
//! - no symbolic link that leads out of its directory is made or moved there ([`links`]);
//! - nothing of what no plugin may have is reached: where the kernel shows itself ([`kernel`]), the host's own files and those of
//!   other plugins ([`guarded`]);
//! - no pipes, devices and sockets: opening or reading one can wait for ever on a thread that nothing can stop.

mod admit;
mod blob_files;
mod blobs;
mod directory;
mod grant;
mod guarded;
mod kernel;
mod links;
mod list;
mod moves;
mod refused;
mod view;

pub(crate) use admit::ENTRY;
pub(crate) use blob_files::Named;
#[cfg(test)]
pub(crate) use directory::FILESYSTEM;
pub(crate) use grant::FilesGrant;
pub(crate) use refused::{Denial, Refused};
pub(crate) use view::{Fd, Files, FilesView};
