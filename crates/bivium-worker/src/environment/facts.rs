//! [`Facts`]: the answer of an interpreter about itself.

use std::path::PathBuf;
use std::time::SystemTime;

use super::version::Version;

/// The answer of an interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The program itself, if a script was queried that runs it. Links in the path are not resolved.
    pub(super) program: PathBuf,
    pub(super) version: Version,
    /// The implementation, its minor version and its ABI, for example `cpython-313t`.
    pub(super) tag: String,
    /// Whether it can call `prctl` on Linux: through `ctypes`, which some builds lack.
    pub(super) prctl: bool,
}

/// Values that change when a file changes: its time, size and inode.
pub(super) type Stamp = (SystemTime, u64, u64);
