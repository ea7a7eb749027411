//! What one instance may use up, held by wasmtime's limiter.
//!
//! A refused growth is no trap: the guest sees `memory.grow` fail and most often aborts. The limiter remembers that it
//! refused, so that the abort can be told as what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bivium_interface::{PluginError, manifest};
use wasmtime::ResourceLimiter;

/// Core instances in one component.
pub(crate) const INSTANCES: u32 = 100;
/// Linear memories in one component.
pub(crate) const MEMORIES: u32 = 8;
/// Tables in one component.
pub(crate) const TABLES: u32 = 64;
/// Handles that a guest may hold at once: blobs, writers and what WASI hands out.
pub(crate) const HANDLES: usize = 1024;
/// Blobs that one call may bring; with as many clones they still fit under [`HANDLES`].
pub(crate) const CALL_BLOBS: usize = 512;
/// Bytes that the guest may write into blobs during one call.
pub(crate) const BLOB_BYTES: u64 = 1 << 30;
/// Elements of one table; a JavaScript engine compiled to WebAssembly has tens of thousands.
pub(crate) const TABLE_ELEMENTS: usize = 60_000;
/// Memory of one instance where its manifest does not say, in MiB.
const DEFAULT_MEMORY_MB: u64 = 256;

/// Memory in use by one instance: the limiter writes it, statistics read it.
pub(crate) type MemoryGauge = Arc<AtomicU64>;

/// Watches over one store.
pub(crate) struct Limiter {
    memory_limit: u64,
    memory: MemoryGauge,
    refused: Option<Refusal>,
}

enum Refusal {
    Memory { wanted: u64 },
    Table { wanted: usize },
}

impl Limiter {
    pub(crate) fn new(limits: &manifest::Limits, memory: MemoryGauge) -> Self {
        let megabytes = limits.memory_mb.unwrap_or(DEFAULT_MEMORY_MB);
        Self { memory_limit: megabytes.saturating_mul(1 << 20), memory, refused: None }
    }

    /// Forgets what was refused: a new call begins.
    pub(crate) fn reset(&mut self) {
        self.refused = None;
    }

    /// The error that a trap after a refusal stands for.
    pub(crate) fn error(&self) -> Option<PluginError> {
        Some(match self.refused.as_ref()? {
            Refusal::Memory { wanted } => PluginError::resource_exhausted(format!(
                "the component asked for {} MiB of memory, over its limit of {} MiB",
                wanted.div_ceil(1 << 20),
                self.memory_limit >> 20
            ))
            .with_help("raise `limits.memory_mb` in its manifest"),
            Refusal::Table { wanted } => PluginError::resource_exhausted(format!(
                "the component asked for a table of {wanted} elements, over the limit of {TABLE_ELEMENTS}"
            )),
        })
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The component's own bound, not ours.
            return Ok(false);
        }
        // A growth that fails after we allowed it stays counted: too much rather than too little.
        let total = self.memory.load(Ordering::Relaxed).saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory_limit {
            self.refused = Some(Refusal::Memory { wanted: total });
            return Ok(false);
        }
        self.memory.store(total, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > TABLE_ELEMENTS {
            self.refused = Some(Refusal::Table { wanted: desired });
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;

    #[test]
    fn memory_of_all_memories_counts_together_and_a_refusal_is_told() {
        let limits = manifest::Limits { memory_mb: Some(2), ..Default::default() };
        let mut limiter = Limiter::new(&limits, MemoryGauge::default());
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!limiter.memory_growing(0, 1 << 20, Some(1 << 10)).unwrap());
        assert!(limiter.error().is_none(), "the component's own maximum is no limit of ours");
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!limiter.memory_growing(1 << 20, (1 << 20) + 1, None).unwrap());
        let error = limiter.error().unwrap();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert!(error.to_string().contains("limits.memory_mb"), "{error}");
        assert_eq!(limiter.memory.load(Ordering::Relaxed), 2 << 20);
        limiter.reset();
        assert!(limiter.error().is_none());
    }
}
