//! SDK for authors of WebAssembly components in Rust.
