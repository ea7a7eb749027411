//! The hostile suite: components that do what no component should, one test each.
//!
//! Every test asserts the code that the caller gets and, by [`Scene::attack`], that a well-behaved plugin on the same engine
//! and the same threads answers a hundred calls meanwhile, each answer checked. `docs/sandbox.md` says which promise each
//! test stands for.

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
