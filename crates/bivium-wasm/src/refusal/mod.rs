//! The errors of components that this host cannot run, one sentence each.
//!
//! A component is refused when it is loaded, before any of its code runs. Names in a component are not trusted and are escaped.

mod disabled;

use bivium_interface::{Call, PluginError, Result, nearest};

use crate::text;

/// The first bytes of any WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// What follows them in a core module.
const MODULE: &[u8] = &[1, 0, 0, 0];

/// Checks only the header.
pub(crate) fn check_header(bytes: &[u8]) -> Result<()> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(PluginError::invalid_manifest("the file is not WebAssembly")
            .with_help("set `component` to a component's `.wasm` file"));
    };
    if rest.starts_with(MODULE) {
        return Err(PluginError::invalid_manifest("the file is a core module, not a component").with_help(
            "make a component from it with `wasm-tools component new`, or link it with `wasm-component-ld`",
        ));
    }
    Ok(())
}

/// The error for a file that is shorter than its sections say.
pub(crate) fn cut_short() -> PluginError {
    PluginError::invalid_manifest("the file ends in the middle of the component").with_help("build or copy it again")
}

/// The error for a component that the engine cannot compile.
pub(crate) fn malformed(error: &wasmtime::Error) -> PluginError {
    /// Words in the engine's messages about too much of something.
    const OVER_A_LIMIT: [&str; 7] =
        ["limit", "exceed", "too deep", "too many", "too large", "size out of bounds", "size is out of bounds"];
    let reason = text::reason(error);
    if OVER_A_LIMIT.iter().any(|over| reason.contains(over)) {
        return PluginError::invalid_manifest(format!(
            "the component exceeds a limit of the WebAssembly engine: {reason}"
        ))
        .with_help("build it smaller: docs/limits.md lists what a component may consist of");
    }
    if let Some(feature) = disabled::find(&reason) {
        return PluginError::invalid_manifest(format!(
            "the component uses {}, which this host does not run: {reason}",
            feature.name
        ))
        .with_help(feature.cure);
    }
    PluginError::invalid_manifest(format!(
        "the component is damaged, or needs a newer version of WebAssembly than this host has: {reason}"
    ))
    .with_help("build it again, for WebAssembly 3.0 and WASI 0.2 at most")
}

/// The error for a typed component whose functions cannot be called with JSON. `unfit` completes "the function `f` has …".
pub(crate) fn unfit(function: &str, unfit: &str) -> PluginError {
    PluginError::invalid_manifest(format!(
        "the component is not a plugin: its function `{}` has {unfit}",
        text::name(function)
    ))
    .with_help("export only functions of plain values, or implement world `bivium:plugin/plugin`")
}

/// The error of a call of such a function, if other functions of the component can be called.
pub(crate) fn not_callable(function: &str, unfit: &str) -> PluginError {
    PluginError::invalid_input(format!("the method `{}` cannot be called: it has {unfit}", text::name(function)))
        .with_help("only functions of plain values can be called; `bivium info` lists them")
}

/// "did you mean `x`?", if a call names a method that does not exist and a similar one does.
pub(crate) fn did_you_mean<'k>(method: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    // A call without a method runs `execute`.
    let meant = if method == Call::EXECUTE { None } else { nearest(method, known) };
    meant.map(|meant| format!("did you mean `{}`?", text::name(meant)))
}

/// The error for an import that the linker does not have.
pub(crate) fn missing_import(error: &wasmtime::Error) -> PluginError {
    // The linker's first sentence names the import; the following ones say what of it is missing or different.
    let reason = text::reason(error);
    if reason.contains("`wasi:") && reason.contains("@0.3.") {
        return PluginError::invalid_manifest(format!(
            "the component is built for WASI 0.3, and this host has WASI 0.2: {reason}"
        ))
        .with_help("build it for WASI 0.2 (in Rust for the target `wasm32-wasip2`)");
    }
    PluginError::invalid_manifest(format!("the component needs an import that this host does not provide: {reason}"))
        .with_help("build it for world `bivium:plugin/plugin`, with no imports besides WASI 0.2")
}

/// The error for a missing export of the world.
pub(crate) fn missing_export(error: &wasmtime::Error) -> PluginError {
    PluginError::invalid_manifest(format!("the component lacks an export: {error:#}"))
        .with_help("implement every function of world `bivium:plugin/plugin`")
}

/// The error for an export with other parameters or results than the world's.
pub(crate) fn wrong_type(error: &wasmtime::Error) -> PluginError {
    let reason = text::reason(error);
    PluginError::invalid_manifest(format!("the component exports a function of the wrong type: {reason}"))
        .with_help("build it against this host's wit/")
}
