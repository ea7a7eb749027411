//! [`Held`]: the memory that a plugin uses.

use std::fmt;

use serde::Serialize;

/// The memory that a plugin uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Held {
    /// Host memory in bytes.
    pub memory_bytes: u64,
    /// GPU memory in bytes; none if there is no GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB of memory", self.memory_bytes >> 20)?;
        match self.gpu_memory_bytes {
            Some(bytes) => write!(f, " and {} MiB of GPU memory", bytes >> 20),
            None => Ok(()),
        }
    }
}
