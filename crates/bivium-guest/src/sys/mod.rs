//! The host as the rest of the crate sees it: two handles and five functions, over the world's imports in a
//! component, over memory anywhere else. Both sides speak this crate's own types.

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
