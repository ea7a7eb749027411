//! [`Footprint`]: what instantiating a module or a component creates, and how much of the host's memory that takes.

use bivium_interface::PluginError;
use wasmparser::{ComponentType, Payload};

/// The bytes that wasmtime keeps for a function between components and the host, and for a resource type.
const CROSSING: u64 = 64;
const RESOURCE: u64 = 64;

/// What instantiating a module or a component creates.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Footprint {
    pub(super) core_instances: u64,
    pub(super) component_instances: u64,
    pub(super) definitions: u64,
    pub(super) bytes: u64,
}

impl Footprint {
    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            core_instances: both(self.core_instances, other.core_instances),
            component_instances: both(self.component_instances, other.component_instances),
            definitions: both(self.definitions, other.definitions),
            bytes: both(self.bytes, other.bytes),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        *self = self.with(other, u64::saturating_add);
    }

    pub(super) fn max(self, other: Self) -> Self {
        self.with(other, u64::max)
    }
}

/// Why the count stops early.
pub(super) enum Stop {
    Malformed,
    Refused(PluginError),
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed
    }
}

/// What a section of a component defines itself.
pub(super) fn defined(payload: &Payload<'_>) -> Result<Footprint, Stop> {
    let (definitions, bytes) = match payload {
        Payload::ComponentAliasSection(section) => (section.count(), 0),
        Payload::ComponentImportSection(section) => (section.count(), 0),
        Payload::ComponentExportSection(section) => (section.count(), 0),
        Payload::InstanceSection(section) => (section.count(), 0),
        Payload::ComponentInstanceSection(section) => (section.count(), 0),
        Payload::CoreTypeSection(section) => (section.count(), 0),
        Payload::ComponentCanonicalSection(section) => (section.count(), u64::from(section.count()) * CROSSING),
        Payload::ComponentTypeSection(section) => {
            let mut bytes = 0;
            for ty in section.clone() {
                if let ComponentType::Resource { .. } = ty? {
                    bytes += RESOURCE;
                }
            }
            (section.count(), bytes)
        }
        _ => (0, 0),
    };
    Ok(Footprint { definitions: definitions.into(), bytes, ..Footprint::default() })
}
