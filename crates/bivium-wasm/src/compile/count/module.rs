//! [`ModuleCount`]: counts what instantiating a core module creates.

use bivium_interface::PluginError;
use wasmparser::{AbstractHeapType, Element, ElementItems, ElementKind, HeapType, Payload, RefType, ValType};

use super::footprint::{Footprint, Stop};
use crate::store::limits;

/// The most bytes with which one memory may begin.
const MEMORY_BYTES: u64 = limits::ONE_MEMORY as u64;
const PAGE: u64 = 64 << 10;

/// The bytes that wasmtime keeps in each core instance for one of each.
pub(super) const GLOBAL: u64 = 16;
pub(super) const FUNCTION: u64 = 32;
pub(super) const MEMORY_OR_TABLE: u64 = 32;
pub(super) const TAG: u64 = 32;
pub(super) const DATA_SEGMENT: u64 = 16;
pub(super) const PASSIVE_SEGMENT: u64 = 48;
pub(super) const PASSIVE_ELEMENT: u64 = 16;
/// For a root of the garbage collector; its list of roots grows by doubling.
pub(super) const ROOT: u64 = 32;
pub(super) const CORE_INSTANCE: u64 = 512;

/// The count of one module.
#[derive(Default)]
pub(super) struct ModuleCount {
    globals: u64,
    imported: u64,
    defined: u64,
    referenced: u64,
    memories_and_tables: u64,
    /// The bytes of items that are counted one by one.
    bytes: u64,
}

impl ModuleCount {
    /// Counts one of its sections.
    pub(super) fn note(&mut self, payload: Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::ImportSection(section) => self.imported += u64::from(section.count()),
            Payload::FunctionSection(section) => self.defined += u64::from(section.count()),
            Payload::ExportSection(section) => self.referenced += u64::from(section.count()),
            Payload::GlobalSection(section) => {
                self.globals += u64::from(section.count());
                self.referenced += u64::from(section.count());
                for global in section {
                    if let ValType::Ref(ty) = global?.ty.content_type {
                        self.bytes += root(ty);
                    }
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    let element = element?;
                    self.bytes += passive(&element);
                    self.referenced += u64::from(match element.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                }
            }
            Payload::TagSection(section) => self.bytes += TAG * u64::from(section.count()),
            Payload::DataSection(section) => self.bytes += DATA_SEGMENT * u64::from(section.count()),
            Payload::MemorySection(section) => {
                self.memories_and_tables += u64::from(section.count());
                for memory in section {
                    let memory = memory?;
                    let page = memory.page_size_log2.map_or(PAGE, |log2| 1_u64.checked_shl(log2).unwrap_or(PAGE));
                    let bytes = memory.initial.saturating_mul(page);
                    if bytes > MEMORY_BYTES {
                        return Err(Stop::Refused(begins_with(
                            "memory",
                            bytes >> 20,
                            "MiB",
                            MEMORY_BYTES >> 20,
                            "memory_mb",
                        )));
                    }
                }
            }
            Payload::TableSection(section) => {
                self.memories_and_tables += u64::from(section.count());
                for table in section {
                    let (elements, most) = (table?.ty.initial, crate::store::limits::TABLE_ELEMENTS as u64);
                    if elements > most {
                        return Err(Stop::Refused(begins_with("table", elements, "elements", most, "table_elements")));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The footprint of an instance of the module.
    pub(super) fn footprint(&self) -> Footprint {
        let functions = self.imported + self.defined.min(self.referenced);
        let counted = GLOBAL * self.globals + FUNCTION * functions + MEMORY_OR_TABLE * self.memories_and_tables;
        Footprint { core_instances: 1, bytes: CORE_INSTANCE + counted + self.bytes, ..Footprint::default() }
    }
}

/// What the garbage collector needs for a place that holds such a reference.
fn root(ty: RefType) -> u64 {
    match ty.heap_type() {
        HeapType::Abstract { ty: AbstractHeapType::Func | AbstractHeapType::NoFunc, .. } => 0,
        // A type that the module defines may be a function type; then this counts too much.
        _ => ROOT,
    }
}

/// What an instance keeps of a segment that its code may read at any time.
fn passive(element: &Element<'_>) -> u64 {
    if !matches!(element.kind, ElementKind::Passive) {
        return 0;
    }
    let (items, each) = match &element.items {
        ElementItems::Functions(items) => (items.count(), PASSIVE_ELEMENT),
        ElementItems::Expressions(ty, items) => (items.count(), PASSIVE_ELEMENT + root(*ty)),
    };
    PASSIVE_SEGMENT + u64::from(items) * each
}

fn begins_with(what: &str, has: u64, unit: &str, limit: u64, key: &str) -> PluginError {
    PluginError::resource_exhausted(format!(
        "a {what} of the component begins with {has} {unit}, over the limit of {limit} {unit}"
    ))
    .with_help(format!("build it with a smaller one; `limits.{key}` is at most {limit}"))
}
