//! Turns a trap into an error: the limit that was exceeded, or how the plugin crashed.

use std::io;

use bivium_interface::{Failure, PluginError, clip};
use rustix::io::Errno;
use wasmtime::component::ResourceTableError;
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError, ThrownException, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::state::HostState;
use crate::{ceilings, text};

/// The longest cause, in bytes.
const MAX_CAUSE: usize = 2 << 10;
/// The most frames of a backtrace that are shown.
const FRAMES: usize = 32;
/// The longest backtrace, in bytes, since the plugin chooses the names of functions.
const MAX_BACKTRACE: usize = 16 << 10;

/// The error of a call that ended in `trap`.
pub(crate) fn explain(trap: &wasmtime::Error, state: &HostState) -> PluginError {
    let own = trap.downcast_ref::<PluginError>().cloned();
    exhausted(trap, state).or(own).unwrap_or_else(|| crashed(trap, state))
}

fn exhausted(trap: &wasmtime::Error, state: &HostState) -> Option<PluginError> {
    // A host function's own error.
    if let Some(error) = trap.downcast_ref::<PluginError>() {
        return Some(error.clone());
    }
    if let Some(Trap::StackOverflow) = trap.downcast_ref() {
        return Some(no_stack(trap, state));
    }
    if let Some(error) = state.store.limiter.error() {
        return Some(error);
    }
    if let Some(ResourceTableError::Full) = trap.downcast_ref() {
        return Some(
            PluginError::resource_exhausted(format!(
                "the plugin holds more than {} blobs, writers, streams, files and connections at once",
                state.store.limits.handles
            ))
            .with_help("raise `limits.blobs` in its manifest"),
        );
    }
    if let (Some(Trap::OutOfFuel), Some(fuel)) = (trap.downcast_ref(), state.store.limits.fuel) {
        return Some(
            PluginError::resource_exhausted(format!("the plugin used all of its {fuel} units of fuel"))
                .with_help("raise `limits.fuel` in its manifest"),
        );
    }
    if let Some(error) = over_a_count(trap, state) {
        return Some(error);
    }
    if trap.is::<PoolConcurrencyLimitError>() {
        return Some(
            PluginError::resource_exhausted("no more component instances fit into the engine's pools")
                .with_help("unload a plugin, lower `instances.max` in manifests, or raise `WasmConfig::instances`"),
        );
    }
    if is_out_of_memory(trap) {
        return Some(
            PluginError::resource_exhausted("the machine has no memory or address space left for the component")
                .with_help("unload plugins, or raise the limit of address space (`ulimit -v`)"),
        );
    }
    // The engine has no type for this error.
    if trap.root_cause().to_string().contains("fuel allocated for hostcalls") {
        return Some(
            PluginError::resource_exhausted(format!(
                "the plugin passed more data to the host at once than its payloads may have: more than {} MiB in \
                 the host's memory",
                state.store.limits.handed >> 20
            ))
            .with_help("pass large data as a blob, written in pieces, or raise `limits.payload_mb` in its manifest"),
        );
    }
    None
}

/// The host cannot tell endless from deep recursion; the backtrace shows the functions that call each other.
fn no_stack(trap: &wasmtime::Error, state: &HostState) -> PluginError {
    let message = format!(
        "call stack exhausted: the component's functions took more than their limit of {} KiB of stack",
        state.store.limits.stack >> 10
    );
    let traceback = trap.downcast_ref().map(backtrace).unwrap_or_default();
    let failure = Failure::new("trap", "call stack exhausted").with_traceback(traceback);
    PluginError::resource_exhausted(message)
        .with_failure(failure)
        .with_help("if its recursion is finite, raise `limits.stack_kb` in its manifest")
}

fn is_out_of_memory(trap: &wasmtime::Error) -> bool {
    trap.is::<OutOfMemory>()
        || trap.downcast_ref::<Errno>() == Some(&Errno::NOMEM)
        || trap.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
}

/// Errors of the engine's own counters of a store, for which it has no types.
fn over_a_count(trap: &wasmtime::Error, state: &HostState) -> Option<PluginError> {
    let cause = trap.root_cause().to_string();
    if cause.contains("cannot allocate another handle") || cause.contains("store handle limit exceeded") {
        let most = state.store.limits.all_handles();
        return Some(
            PluginError::resource_exhausted(format!("the component holds more than {most} resource handles at once"))
                .with_help("drop resources that are no longer needed, or raise `limits.blobs` in its manifest"),
        );
    }
    let counted = cause.strip_prefix("resource limit exceeded: ")?;
    let count = counted.split(' ').next_back()?.parse().ok()?;
    let limits = &state.store.limits;
    let (what, limit, key) = match counted.split(' ').next()? {
        "instance" => ("core instances or more", limits.core_instances, "core_instances"),
        "memory" => ("memories or more", limits.memories, "memories"),
        "table" => ("tables or more", limits.tables, "tables"),
        _ => return None,
    };
    Some(ceilings::over(what, count, limit as u64, key))
}

fn crashed(trap: &wasmtime::Error, state: &HostState) -> PluginError {
    let cause = match (trap.downcast_ref::<I32Exit>(), trap.downcast_ref::<Trap>()) {
        (Some(I32Exit(status)), _) => format!("called exit({status})"),
        (_, Some(trap)) => format!("trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        _ if trap.is::<ThrownException>() => "threw an exception that none of its functions caught".to_owned(),
        _ => format!("trapped: {}", text::line(&trap.root_cause().to_string(), MAX_CAUSE)),
    };
    // A guest's runtime writes the reason before it traps.
    let (sentence, said) = state.store.log.last_output(|last| (last.sentence(), last.text()));
    let message = match &sentence {
        Some(sentence) => format!("{sentence} (the component {cause})"),
        None => format!("the component {cause}"),
    };
    let frames = trap.downcast_ref().map(backtrace).filter(|frames| !frames.is_empty());
    let traceback = said.into_iter().chain(frames).collect::<Vec<_>>().join("\n");
    let failure = Failure::new("trap", sentence.unwrap_or(cause)).with_traceback(traceback);
    PluginError::crashed(message).with_failure(failure)
}

fn backtrace(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().take(FRAMES);
    let names = names.map(|frame| text::line(frame.func_name().unwrap_or("<unknown>"), MAX_BACKTRACE));
    clip(names.collect::<Vec<_>>().join("\n"), MAX_BACKTRACE)
}
