//! Cases of the WebAssembly road.

pub mod warm_call;
