//! What a component needs of the engine, checked against its limits when it is loaded.
//!
//! Instances come from pools or are made on demand; the limits and the errors are the same for both. The pools can hold any component
//! that passes this check.

use bivium_instances::Capacity;
use bivium_interface::{PluginError, Result};
use wasmtime::component::Component;

use crate::store::StoreLimits;
use crate::text;

/// What an instance of the component takes of the engine's capacity: one instance, memories, tables.
pub(crate) fn needs(component: &Component, limits: &StoreLimits, capacity: &Capacity) -> Result<[u32; 3]> {
    // `None` for a component that imports core modules, which the linker refuses.
    let (memories, tables) =
        component.resources_required().map_or((0, 0), |needs| (needs.num_memories, needs.num_tables));
    for (what, has, limit, key) in
        [("memories", memories, limits.memories, "memories"), ("tables", tables, limits.tables, "tables")]
    {
        if has as usize > limit {
            return Err(over(what, u64::from(has), limit as u64, key));
        }
    }
    let needs = [1, memories, tables];
    match capacity.exceeded_by(&needs) {
        Some((what, total)) => Err(PluginError::resource_exhausted(format!(
            "an instance of the component needs more {what} than the {total} in the engine's pools"
        ))
        .with_help("raise the host's `WasmConfig::instances`")),
        None => Ok(needs),
    }
}

/// The error for a component that has more of something than the limit with that key allows.
pub(crate) fn over(what: &str, has: u64, limit: u64, key: &str) -> PluginError {
    PluginError::resource_exhausted(format!("the component has {has} {what}, over its limit of {limit}"))
        .with_help(format!("raise `limits.{key}` in its manifest"))
}

/// The error if the engine does not accept code that it compiled itself: the component does not fit into its pools.
pub(crate) fn unfit(error: &wasmtime::Error) -> Option<PluginError> {
    let reason = text::reason(error);
    if !reason.contains("pooling allocator") {
        return None;
    }
    let key = if reason.contains("memory") {
        "`limits.memory_mb` is at most 4096 here"
    } else if reason.contains("table") {
        "`limits.table_elements` is at most 60000 here"
    } else {
        "build it smaller"
    };
    let message = format!("an instance of the component does not fit into the engine's pools: {reason}");
    Some(PluginError::resource_exhausted(message).with_help(key))
}
