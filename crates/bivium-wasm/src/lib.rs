//! The WebAssembly road: components in a deny-by-default sandbox.
