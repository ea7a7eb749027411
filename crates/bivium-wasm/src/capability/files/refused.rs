//! Why an operation on files is refused: a code for the guest, a sentence for people.

use std::io;

use wasmtime::component::ResourceTableError;

use super::directory::{BLOB_FILES, Directory, FILESYSTEM};
use crate::text;

/// The result for the guest. Each version of WASI has a code for it.
pub(crate) enum Refused {
    NotPermitted,
    NoEntry,
    NotDirectory,
    /// Between two granted directories, as between two disks.
    CrossDevice,
    /// Too many files are open.
    TooManyOpen,
    /// More than the host can hold in memory.
    TooMuch,
    /// The call has written as much as it may.
    NoSpace,
    /// The operation failed.
    Failed,
    /// An error of the operating system.
    System(io::Error),
    /// The handle does not exist: a fault of the host.
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
    /// The reason, and which permission would be needed. `guest` is the guest's name for the directory.
    pub(super) fn explain(self, directory: &Directory, guest: &str) -> (&'static str, String) {
        let key = directory.key;
        match self {
            Self::ReadOnly if key == BLOB_FILES => (
                "the blobs of a call are read-only",
                "write a blob with the world's `blob-writer`, or a file in a directory of `permissions.filesystem`"
                    .to_owned(),
            ),
            Self::ReadOnly => (
                "it is granted for reading only",
                format!("`{key}` would have to grant {guest} with `\"mode\": \"write\"`"),
            ),
            Self::Outside => (
                "the path leads out of the directory, or the operating system forbids it",
                format!("`{FILESYSTEM}` would have to grant the directory that the path leads to"),
            ),
            Self::Host => (
                "the operating system denies it to the host",
                format!("`{key}` gives no more rights than the host has"),
            ),
            Self::Kernel => (
                "it is in a file system of the kernel (such as /proc, /sys and /dev)",
                format!("`{key}` gives only files and directories on disks"),
            ),
            Self::Protected => {
                ("it holds files of the host or of other plugins", format!("`{key}` never gives access to these"))
            }
            Self::Special => {
                ("it is neither a file nor a directory", format!("`{key}` gives only files and directories"))
            }
        }
    }

    /// The message for a path in a directory.
    pub(super) fn message(reason: &str, guest: &str, path: &str) -> String {
        let what = if path.is_empty() { guest.to_owned() } else { format!("`{}` in {guest}", text::name(path)) };
        format!("the plugin may not use {what}: {reason}")
    }
}
