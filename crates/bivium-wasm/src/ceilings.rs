//! What a component needs of the engine, held against its limits when it is loaded.
//!
//! Both ways of making instances, from pools and on demand, have the same ceilings and say the same: the pools hold any
//! component that is taken here.

use bivium_instances::Capacity;
use bivium_interface::{PluginError, Result};
use wasmtime::component::Component;

use crate::store::StoreLimits;
use crate::text;

/// What an instance of the component takes of the engine's room: one place, memories, tables.
pub(crate) fn needs(component: &Component, limits: &StoreLimits, capacity: &Capacity) -> Result<[u32; 3]> {
    // None for one that imports core modules, which the linker refuses.
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
            "an instance of the component needs more {what} than the engine's pools have, which is {total}"
        ))
        .with_help("raise the host's `WasmConfig::instances`")),
        None => Ok(needs),
    }
}

/// The component has more of something than the limit with that key allows.
pub(crate) fn over(what: &str, has: u64, limit: u64, key: &str) -> PluginError {
    PluginError::resource_exhausted(format!("the component has {has} {what}, over its limit of {limit}"))
        .with_help(format!("raise `limits.{key}` in its manifest"))
}

/// The engine does not take code that it has compiled itself: what the component needs does not fit into its pools.
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
