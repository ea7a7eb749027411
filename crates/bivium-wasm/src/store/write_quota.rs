//! [`WriteQuota`]: how much one call has written to disk, into blobs and files together.

use std::sync::atomic::{AtomicU64, Ordering};

use bivium_interface::{PluginError, Result};

/// The bytes written since the call began, and their limit. Shared with the streams that write.
pub(crate) struct WriteQuota {
    bytes: AtomicU64,
    limit: u64,
}

impl WriteQuota {
    pub(crate) fn new(limit: u64) -> Self {
        Self { bytes: AtomicU64::new(0), limit }
    }

    /// Starts again for a new call.
    pub(crate) fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Counts bytes before they are written.
    pub(crate) fn charge(&self, bytes: u64) -> Result<()> {
        let total = |written: u64| written.checked_add(bytes).filter(|total| *total <= self.limit);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, total).is_ok() {
            return Ok(());
        }
        Err(PluginError::resource_exhausted(format!(
            "this call writes more than its limit of {} MiB into blobs and files",
            self.limit >> 20
        ))
        .with_help("raise `limits.blob_mb` in its manifest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;

    #[test]
    fn the_bytes_that_a_call_writes_are_limited() {
        let written = WriteQuota::new(10);
        written.charge(9).unwrap();
        written.charge(1).unwrap();
        for bytes in [1, u64::MAX] {
            assert_eq!(written.charge(bytes).unwrap_err().code(), ErrorCode::ResourceExhausted);
        }
        written.reset();
        written.charge(10).unwrap();
    }
}
