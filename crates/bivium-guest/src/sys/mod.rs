//! The host as the rest of the crate sees it: two handles and five functions. In a component they call the world's imports,
//! elsewhere a host in memory. Both implementations use this crate's own types.

#[cfg(target_arch = "wasm32")]
mod wasm;
#[cfg(target_arch = "wasm32")]
pub use wasm::bindings;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

#[cfg(not(target_arch = "wasm32"))]
mod memory;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use memory::*;
