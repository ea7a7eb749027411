//! From a component's file to code that the engine runs: out of the cache if it was compiled before, else compiled
//! within limits and put there.
//!
//! Components are strangers'. Compiling one may take more time and memory than anybody has, so it is done in a child
//! process that can be stopped where the host has a program for it ([`Compiler::Child`]), and else on a thread that
//! nobody waits for longer than the limit. Reading and checking the cache happens on blocking threads.

mod build;
mod cache;
mod child;
mod code;
mod compiler;
mod count;
mod digest;
mod find;
mod loader;
mod look;
mod request;
mod source;
mod stamp;
mod strip;
mod worker;

pub(crate) use find::Compiled;
pub(crate) use loader::Loader;
pub(crate) use request::Request;
pub(crate) use source::at;

pub use compiler::{CacheUsage, Compilation, Compiler};
pub use look::check_component;
pub use worker::compiler_main;
