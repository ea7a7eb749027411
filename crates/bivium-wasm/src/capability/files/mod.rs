//! Files beneath the granted directories: the checks between a guest and `wasmtime-wasi`.
//!
//! `wasmtime-wasi` does the operations: it resolves every path beneath its directory (`..`, absolute paths and symbolic links never
//! lead out of it) and keeps a read-only directory read-only. This module adds what it leaves to its host:
//!
//! - It knows which granted directory a descriptor came from. A hard link or a rename from one into another is refused, as between
//!   two disks, and an error about a denied operation names the missing permission.
//! - Quotas: open files (a stream keeps its file open too), entries of directory listings in memory, bytes written.
//! - No symbolic link that leads out of its directory may be made or moved there ([`links`]).
//! - No plugin reaches the kernel's file systems ([`kernel`]), the host's own files, or those of other plugins
//!   ([`guarded`]).
//! - No pipes, devices and sockets: opening or reading one can block a thread for ever.

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
pub(crate) use blob_files::BlobName;
#[cfg(test)]
pub(crate) use directory::FILESYSTEM;
pub(crate) use grant::FilesGrant;
pub(crate) use refused::{Denial, Refused};
pub(crate) use view::{Fd, Files, FilesView};
