//! SDK for authors of WebAssembly components in Rust: implement [`Plugin`], write one [`export!`] line, and build
//! a `cdylib` for `wasm32-unknown-unknown` with the linker `wasm-component-ld`. The component needs no WASI.
//!
//! ```
//! use bivium_guest::{Blob, Call, Empty, Plugin, Result};
//!
//! #[derive(serde::Deserialize)]
//! struct Input { text: String, #[serde(default)] attachment: Option<Blob> }
//!
//! #[derive(serde::Serialize)]
//! struct Output { words: usize, bytes: u64 }
//!
//! struct Count;
//!
//! impl Plugin for Count {
//!     const NAME: &'static str = "count";
//!     const VERSION: &'static str = "1.0.0";
//!     const SUMMARY: &'static str = "Counts words.";
//!     type Config = Empty;
//!     type Input = Input;
//!     type Output = Output;
//!
//!     fn new(_: Empty) -> Result<Self> { Ok(Self) }
//!
//!     fn execute(&mut self, call: &Call, input: Input) -> Result<Output> {
//!         call.progress(0.5, "counting");
//!         let bytes = input.attachment.map_or(0, |blob| blob.size());
//!         Ok(Output { words: input.text.split_whitespace().count(), bytes })
//!     }
//! }
//!
//! bivium_guest::export!(Count);
//! ```
//!
//! The SDK wraps only the world `bivium:plugin/plugin`. For anything else (files, network) a plugin uses the standard library,
//! once its manifest grants the permission. On other targets than WebAssembly the SDK talks to a host in memory
//! ([`testing`]), so plain `cargo test` runs a plugin's unit tests.

mod blob;
mod call;
#[cfg(target_arch = "wasm32")]
mod component;
mod error;
mod fields;
mod instance;
mod payload;
mod plugin;
mod sys;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod trace;
mod words;

pub use blob::{Blob, BlobReader, BlobWriter};
pub use call::{Call, Level, log};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use component::Component;
pub use error::{Error, Failure, Result};
pub use payload::Payload;
pub use plugin::{Empty, Method, Plugin, Stream};
pub use serde_json;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use sys::bindings;
pub use trace::schema_of;

#[doc(hidden)]
pub fn exported<P: Plugin>() {}

/// Exports a type that implements [`Plugin`] as the component's plugin. Use it once per component. It has no effect outside
/// WebAssembly.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod bivium_guest_export {
            use super::*;
            type Exported = $crate::Component<$plugin>;
            $crate::bindings::export!(Exported with_types_in $crate::bindings);
        }
        // On other targets: so that the compiler does not report the plugin as unused.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = $crate::exported::<$plugin>;
    };
}

macro_rules! log_macros {
    ($d:tt $($name:ident => $level:ident: $doc:literal)*) => {$(
        #[doc = $doc]
        #[macro_export]
        macro_rules! $name {
            ($d($d argument:tt)+) => { $crate::log($crate::Level::$level, &::std::format!($d($d argument)+)) };
        }
    )*};
}

log_macros! { $
    trace => Trace: "Writes a log record of level trace; takes the same arguments as `format!`."
    debug => Debug: "Writes a log record of level debug; takes the same arguments as `format!`."
    info => Info: "Writes a log record of level info; takes the same arguments as `format!`."
    warn => Warn: "Writes a log record of level warn; takes the same arguments as `format!`."
    error => Error: "Writes a log record of level error; takes the same arguments as `format!`."
}
