//! Why an operation on files is refused: for the guest by a code, for people by a sentence.

use std::io;

use wasmtime::component::ResourceTableError;

use super::directory::{BLOB_FILES, Directory, FILESYSTEM};
use crate::text;

/// What a guest is told. Each version of WASI has a code for it.
pub(crate) enum Refused {
    NotPermitted,
    NoEntry,
    NotDirectory,
    /// Between two granted directories, as between two disks.
    CrossDevice,
    /// Too many files are open.
    TooManyOpen,
    /// There is more than the host can hold in memory.
    TooMuch,
    /// The call has written as much as it may.
    NoSpace,
    /// It did not work.
    Failed,
    /// The operating system's own.
    System(io::Error),
    /// The handle is none: the host's fault.
    NoHandle(ResourceTableError),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<ResourceTableError> for Refused {
    fn from(error: ResourceTableError) -> Self {
        Self::NoHandle(error)
    }
}

/// Why something is denied.
#[derive(Clone, Copy)]
pub(crate) enum Denial {
    ReadOnly,
    Outside,
    Host,
    Special,
    Kernel,
    Protected,
}

impl Denial {
    /// The reason, and what would have to be granted, for a directory that the guest knows by this name.
    pub(super) fn explain(self, directory: &Directory, guest: &str) -> (&'static str, String) {
        let key = directory.key;
        match self {
            Self::ReadOnly if key == BLOB_FILES => (
                "the blobs of a call are there to be read",
                "write a blob through the world's `blob-writer`, or files where `permissions.filesystem` lets it"
                    .to_owned(),
            ),
            Self::ReadOnly => (
                "it is granted for reading only",
                format!("`{key}` would have to grant {guest} with `\"mode\": \"write\"`"),
            ),
            Self::Outside => (
                "a path leads out of the directory, or the operating system forbids it",
                format!("`{FILESYSTEM}` would have to name the directory that is meant"),
            ),
            Self::Host => {
                ("the operating system forbids it to the host", format!("`{key}` gives no more than the host has"))
            }
            Self::Kernel => (
                "the kernel shows itself there (as in /proc, /sys and /dev)",
                format!("`{key}` gives files and directories of disks"),
            ),
            Self::Protected => (
                "the host has its own files there, or those of other plugins",
                format!("`{key}` gives a plugin what is its own"),
            ),
            Self::Special => ("it is neither a file nor a directory", format!("`{key}` gives nothing else")),
        }
    }

    /// What is told of something in a directory, with what to do.
    pub(super) fn message(reason: &str, guest: &str, path: &str) -> String {
        let what = if path.is_empty() { guest.to_owned() } else { format!("`{}` in {guest}", text::name(path)) };
        format!("the plugin may not use {what}: {reason}")
    }
}
