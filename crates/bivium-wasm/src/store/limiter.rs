//! [`Limiter`]: enforces a store's limits of memory and tables.
//!
//! A refused growth is not a trap: the guest sees `memory.grow` fail, and most guests abort then. The limiter remembers the refusal, so
//! that the error of the abort can name the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bivium_interface::PluginError;
use wasmtime::ResourceLimiter;

use super::limits::{ONE_MEMORY, StoreLimits};
use crate::text;

/// The host's bytes for each element of a table: 8 for itself, and its place in the garbage collector's list of roots, which grows by
/// doubling.
const ELEMENT: u64 = 40;

/// The memory of one instance: the limiter writes it, statistics read it.
pub(crate) type MemoryGauge = Arc<AtomicU64>;

/// The limiter of one store.
pub(crate) struct Limiter {
    limits: StoreLimits,
    memory: MemoryGauge,
    refused: Option<LimitReached>,
}

enum LimitReached {
    OneMemory,
    Memory {
        wanted: u64,
    },
    Table {
        wanted: usize,
    },
    /// The growth is within the limit, but the machine has no more memory.
    Machine {
        reason: String,
    },
}

impl Limiter {
    pub(crate) fn new(limits: StoreLimits, memory: MemoryGauge) -> Self {
        Self { limits, memory, refused: None }
    }

    /// Forgets refusals when a new call begins.
    pub(crate) fn reset(&mut self) {
        self.refused = None;
    }

    /// Counts bytes. If the growth fails after it was allowed, it stays counted: rather too much than too little.
    fn charge(&mut self, bytes: u64) -> bool {
        let total = self.memory.load(Ordering::Relaxed).saturating_add(bytes);
        if total > self.limits.memory_bytes {
            self.refused = Some(LimitReached::Memory { wanted: total });
            return false;
        }
        self.memory.store(total, Ordering::Relaxed);
        true
    }

    /// The error for a trap that follows a refusal.
    pub(crate) fn error(&self) -> Option<PluginError> {
        Some(match self.refused.as_ref()? {
            LimitReached::Memory { wanted } => PluginError::resource_exhausted(format!(
                "the component asked for {} MiB of memory, over its limit of {} MiB",
                wanted.div_ceil(1 << 20),
                self.limits.memory_bytes >> 20
            ))
            .with_help("raise `limits.memory_mb` in its manifest"),
            LimitReached::OneMemory => PluginError::resource_exhausted(format!(
                "the component asked for a memory larger than {} MiB, the most that one memory may have",
                ONE_MEMORY >> 20
            ))
            .with_help("keep large data in blobs, or in several memories"),
            LimitReached::Table { wanted } => PluginError::resource_exhausted(format!(
                "the component asked for a table of {wanted} elements, over its limit of {}",
                self.limits.table_elements
            ))
            .with_help("raise `limits.table_elements` in its manifest"),
            LimitReached::Machine { reason } => PluginError::resource_exhausted(format!(
                "the machine has no memory or address space left for the component: {reason}"
            ))
            .with_help("unload plugins, or raise the limit of address space (`ulimit -v`)"),
        })
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum && maximum < ONE_MEMORY) {
            // The component's own maximum, not a limit of the host.
            return Ok(false);
        }
        if desired > ONE_MEMORY && self.limits.memory_bytes >= ONE_MEMORY as u64 {
            self.refused = Some(LimitReached::OneMemory);
            return Ok(false);
        }
        Ok(self.charge(desired.saturating_sub(current) as u64))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused.get_or_insert(LimitReached::Machine { reason: text::reason(&error) });
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired > self.limits.table_elements {
            self.refused = Some(LimitReached::Table { wanted: desired });
            return Ok(false);
        }
        Ok(self.charge((desired.saturating_sub(current) as u64).saturating_mul(ELEMENT)))
    }

    fn instances(&self) -> usize {
        self.limits.core_instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::{ErrorCode, manifest};

    use super::*;

    #[test]
    fn all_memories_count_together_and_a_refusal_is_reported() {
        let mut limits = manifest::Limits::default();
        limits.memory_mb = Some(2);
        let mut limiter = Limiter::new(StoreLimits::new(&limits), MemoryGauge::default());
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!limiter.memory_growing(0, 1 << 20, Some(1 << 10)).unwrap());
        assert!(limiter.error().is_none(), "the component's own maximum is not a limit of the host");
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
