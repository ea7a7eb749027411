//! [`StoreLimits`]: the limits of one instance.

use bivium_instances::document::DocumentLimits;
use bivium_interface::{HostPolicy, manifest};

/// The most memories of one component, unless a policy says otherwise; pools hold at least one such component.
pub(crate) const MEMORIES: u32 = 8;
/// The most memories and tables of one core module in WebAssembly.
pub(crate) const PER_MODULE: u32 = 100;
/// The most elements of one table: as many as the pools hold.
pub(crate) const TABLE_ELEMENTS: usize = 60_000;

/// The smallest stack of an engine for the guest's functions, in bytes.
pub(crate) const STACK: usize = 512 << 10;
/// The largest stack, whatever a policy allows.
const LARGEST_STACK: usize = 64 << 20;

/// The most handles of a component to its own resources, besides those to the host's.
const OWN_HANDLES: usize = 100_000;

/// The largest memory, in bytes: as much as 32 bits can address, and as the pools hold.
pub(crate) const ONE_MEMORY: usize = 4 << 30;

/// The bytes that a guest may pass at once in addition to the longest document.
const PIECE: usize = 32 << 20;

/// The limits of one instance, in the units in which they are enforced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) table_elements: usize,
    pub(crate) core_instances: usize,
    pub(crate) memories: usize,
    pub(crate) tables: usize,
    /// The stack of the guest's functions, in bytes: that of its engine.
    pub(crate) stack: usize,
    pub(crate) call_ms: Option<u64>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) fuel: Option<u64>,
    /// The limits of a JSON document in either direction.
    pub(crate) document: DocumentLimits,
    pub(crate) blob_bytes: u64,
    pub(crate) blobs: usize,
    pub(crate) files: usize,
    pub(crate) connections: usize,
    pub(crate) response_bytes: u64,
    pub(crate) log_records: u32,
    /// The most bytes that the guest passes to the host at once.
    pub(crate) handed: usize,
    /// The most entries of the table of resources: everything that the guest holds together.
    pub(crate) handles: usize,
}

impl StoreLimits {
    /// The limits that a policy granted, and the defaults for those that it leaves open.
    pub(crate) fn new(granted: &manifest::Limits) -> Self {
        let limits = granted.clone().or(&HostPolicy::DEFAULTS);
        let count = |limit: Option<u64>| usize::try_from(limit.unwrap_or_default()).unwrap_or(usize::MAX);
        let bytes = |limit: Option<u64>| limit.unwrap_or_default().saturating_mul(1 << 20);
        let document = DocumentLimits::of(granted);
        let (blobs, files, connections) = (count(limits.blobs), count(limits.files), count(limits.connections));
        let memory_bytes = bytes(limits.memory_mb);
        Self {
            memory_bytes,
            // The pools hold no more.
            table_elements: count(limits.table_elements).min(TABLE_ELEMENTS),
            core_instances: count(limits.core_instances),
            memories: count(limits.memories),
            tables: count(limits.tables),
            stack: stack(&limits),
            call_ms: limits.call_ms,
            cpu_ms: limits.cpu_ms,
            fuel: limits.fuel,
            document,
            // As long as a document, or longer for a piece of a blob if documents are short.
            handed: document.text.saturating_add(PIECE),
            blob_bytes: bytes(limits.blob_mb),
            blobs,
            files,
            connections,
            response_bytes: bytes(limits.response_mb),
            log_records: u32::try_from(limits.log_records.unwrap_or_default()).unwrap_or(u32::MAX),
            // WASI itself (pollables, streams, errors) needs some more for each.
            handles: blobs.saturating_add(files.saturating_add(connections).saturating_mul(4)).saturating_add(64),
        }
    }
}

/// The stack is a setting of an engine, so there are only a few sizes, each twice the previous one.
pub(crate) fn stack(limits: &manifest::Limits) -> usize {
    let wanted = limits.stack_kb.and_then(|kib| usize::try_from(kib).ok()?.checked_mul(1 << 10)).unwrap_or(STACK);
    wanted.clamp(STACK, LARGEST_STACK).next_power_of_two()
}

impl StoreLimits {
    /// The most handles to all resources, the host's and the component's own.
    pub(crate) fn all_handles(&self) -> usize {
        self.handles.saturating_add(OWN_HANDLES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_have_few_sizes() {
        for (stack_kb, kib) in [
            (None, 512),
            (Some(0), 512),
            (Some(512), 512),
            (Some(513), 1024),
            (Some(3000), 4096),
            (Some(u64::MAX), 512),
            (Some(1 << 30), 65_536),
        ] {
            let mut limits = manifest::Limits::default();
            limits.stack_kb = stack_kb;
            assert_eq!(stack(&limits) >> 10, kib, "{stack_kb:?}");
        }
    }
}
