//! The hostile suite: components that do what no component should do, one test each.
//!
//! Every test checks the error code that the caller gets and, by [`Scene::attack`], that a well-behaved plugin on the same engine
//! and the same threads answers a hundred calls correctly meanwhile. `sandbox.md`, `network.md` and `limits.md` in
//! `docs/` say which promise each test checks.

mod binaries;
mod blobs;
mod files;
mod memory;
mod network;
mod output;
mod scene;
mod streams;
mod time;
mod traps;
