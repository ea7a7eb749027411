//! Bivium: a WebAssembly-sandboxed hybrid plugin host.
