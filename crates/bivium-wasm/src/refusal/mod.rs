//! Why a file is no component that this host can run, in one sentence each.
//!
//! What is refused here is refused at load, before any code of the component runs. Names in a component are a stranger's
//! and are escaped.

mod off;

use bivium_interface::{Call, PluginError, Result, nearest};

use crate::text;

/// The first bytes of any WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// What follows them in a core module.
const MODULE: &[u8] = &[1, 0, 0, 0];

/// Looks at the header only.
pub(crate) fn check_header(bytes: &[u8]) -> Result<()> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(PluginError::invalid_manifest("the file is not WebAssembly")
            .with_help("name a component's `.wasm` file as `component`"));
    };
    if rest.starts_with(MODULE) {
        return Err(PluginError::invalid_manifest("the file is a core module, not a component")
            .with_help("make a component of it with `wasm-tools component new`, or link it with `wasm-component-ld`"));
    }
    Ok(())
}

/// The file is shorter than it says.
pub(crate) fn cut_short() -> PluginError {
    PluginError::invalid_manifest("the file ends in the middle of the component").with_help("build or copy it again")
}

/// The engine cannot compile it.
pub(crate) fn malformed(error: &wasmtime::Error) -> PluginError {
    /// How the engine says that there is too much of something.
    const OVER_A_LIMIT: [&str; 7] =
        ["limit", "exceed", "too deep", "too many", "too large", "size out of bounds", "size is out of bounds"];
    let reason = text::reason(error);
    if OVER_A_LIMIT.iter().any(|over| reason.contains(over)) {
        return PluginError::invalid_manifest(format!(
            "the component is over a limit of the WebAssembly engine: {reason}"
        ))
        .with_help("build it smaller: docs/sandbox.md lists what a component may consist of");
    }
    if let Some(off) = off::find(&reason) {
        return PluginError::invalid_manifest(format!(
            "the component uses {}, which this host does not run: {reason}",
            off.name
        ))
        .with_help(off.cure);
    }
    PluginError::invalid_manifest(format!(
        "the component is damaged, or of a newer WebAssembly than this host knows: {reason}"
    ))
    .with_help("build it again, for WebAssembly 3.0 and WASI 0.2 at most")
}

/// A function of a typed component cannot be called with JSON. `unfit` completes "the function `f` has …".
pub(crate) fn unfit(function: &str, unfit: &str) -> PluginError {
    PluginError::invalid_manifest(format!(
        "the component is no plugin: its function `{}` has {unfit}",
        text::name(function)
    ))
    .with_help("export only functions of plain values, or implement world `bivium:plugin/plugin`")
}

/// The error of a call of such a function, where others of the component can be called.
pub(crate) fn not_callable(function: &str, unfit: &str) -> PluginError {
    PluginError::invalid_input(format!("the method `{}` cannot be called: it has {unfit}", text::name(function)))
        .with_help("only functions of plain values are called; `bivium info` lists them")
}

/// "did you mean `x`?", if a method that a call names is not there and is like one that is.
pub(crate) fn meant<'k>(method: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    // A call that names none runs `execute`.
    let meant = if method == Call::EXECUTE { None } else { nearest(method, known) };
    meant.map(|meant| format!("did you mean `{}`?", text::name(meant)))
}

/// The linker has not got what the component imports.
pub(crate) fn missing_import(error: &wasmtime::Error) -> PluginError {
    // The linker's first sentence names the import; the sentences under it say what of it is missing or different.
    let reason = text::reason(error);
    if reason.contains("`wasi:") && reason.contains("@0.3.") {
        return PluginError::invalid_manifest(format!(
            "the component is made for WASI 0.3, and this host has WASI 0.2: {reason}"
        ))
        .with_help("build it for WASI 0.2 (in Rust for the target `wasm32-wasip2`)");
    }
    PluginError::invalid_manifest(format!("the component needs an import that this host does not provide: {reason}"))
        .with_help("build it for world `bivium:plugin/plugin`, with no other imports than WASI 0.2")
}

/// An export of the world is not there.
pub(crate) fn missing_export(error: &wasmtime::Error) -> PluginError {
    PluginError::invalid_manifest(format!("the component is not complete: {error:#}"))
        .with_help("implement every function of world `bivium:plugin/plugin`")
}

/// An export of the world has other parameters or results.
pub(crate) fn wrong_type(error: &wasmtime::Error) -> PluginError {
    let reason = text::reason(error);
    PluginError::invalid_manifest(format!("the component exports a function of the wrong type: {reason}"))
        .with_help("build it against this host's wit/")
}
