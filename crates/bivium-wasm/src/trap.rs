//! What a trap was: the limit that it ran into, or how the plugin crashed.

use bivium_interface::{Failure, PluginError};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::state::HostState;
use crate::text::{self, clip};

/// As much of a guest's last error as is repeated in a message.
const MAX_LAST_ERROR: usize = 2 << 10;
/// Frames of a backtrace that are told.
const FRAMES: usize = 32;
/// The longest backtrace, in bytes: function names are the plugin's.
const MAX_BACKTRACE: usize = 16 << 10;

/// The error of a call that ended in `trap`.
pub(crate) fn explain(trap: &wasmtime::Error, state: &HostState) -> PluginError {
    let own = trap.downcast_ref::<PluginError>().cloned();
    exhausted(trap, state).or(own).unwrap_or_else(|| crashed(trap, state))
}

fn exhausted(trap: &wasmtime::Error, state: &HostState) -> Option<PluginError> {
    if let Some(error) = state.limiter.error() {
        return Some(error);
    }
    if let Some(ResourceTableError::Full) = trap.downcast_ref() {
        return Some(
            PluginError::resource_exhausted(format!(
                "the plugin holds more than {} blobs, writers, streams, files and connections at once",
                state.limits.handles
            ))
            .with_help("raise `limits.blobs` in its manifest"),
        );
    }
    if let (Some(Trap::OutOfFuel), Some(fuel)) = (trap.downcast_ref(), state.limits.fuel) {
        return Some(
            PluginError::resource_exhausted(format!("the plugin used up its {fuel} units of fuel"))
                .with_help("raise `limits.fuel` in its manifest"),
        );
    }
    if trap.is::<PoolConcurrencyLimitError>() {
        return Some(
            PluginError::resource_exhausted("no more component instances fit into the engine's pools")
                .with_help("unload a plugin, lower `instances.max` in manifests, or raise `WasmConfig::instances`"),
        );
    }
    // The engine has no type for this one.
    if trap.root_cause().to_string().contains("fuel allocated for hostcalls") {
        return Some(
            PluginError::resource_exhausted(format!(
                "the plugin handed the host more data at once than its payloads may have, over the limit of {} MiB as \
                 the host holds it",
                state.limits.handed >> 20
            ))
            .with_help("pass large data as a blob, written in pieces, or raise `limits.payload_mb` in its manifest"),
        );
    }
    None
}

fn crashed(trap: &wasmtime::Error, state: &HostState) -> PluginError {
    let cause = match (trap.downcast_ref::<I32Exit>(), trap.downcast_ref::<Trap>()) {
        (Some(I32Exit(status)), _) => format!("ended itself by exit({status})"),
        (_, Some(trap)) => format!("trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        _ => format!("trapped: {}", trap.root_cause()),
    };
    let mut message = format!("the component {cause}");
    let last_error = state.log.last_error();
    if let Some(last) = &last_error {
        // A guest's runtime logs the reason before it traps.
        message = format!("{message}; its last error in the log: {}", text::line(last, MAX_LAST_ERROR));
    }
    let failure = Failure {
        kind: "trap".to_owned(),
        message: last_error.unwrap_or(cause),
        traceback: trap.downcast_ref().map(backtrace).unwrap_or_default(),
        ..Failure::default()
    };
    PluginError::crashed(message).with_failure(failure)
}

fn backtrace(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().take(FRAMES).map(|frame| frame.func_name().unwrap_or("<unknown>"));
    clip(names.collect::<Vec<_>>().join("\n"), MAX_BACKTRACE)
}
