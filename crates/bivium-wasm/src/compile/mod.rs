//! From a component's file to code that the engine runs: taken from the cache if it was compiled before, else compiled within limits
//! and stored there.
//!
//! Components are not trusted. Compiling one may take very long and much memory, so it is done in a child process that can be stopped,
//! if the host names a program for it ([`Compiler::Child`]), and otherwise on a thread that the host stops waiting for after the limit.
//! Reading and checking the cache happens on blocking threads.

mod build;
mod cache;
mod child;
mod code;
mod compiler;
mod count;
mod digest;
mod find;
mod loader;
mod precheck;
mod request;
mod source;
mod stamp;
mod strip;
mod worker;

pub(crate) use find::Compiled;
pub(crate) use loader::Loader;
pub(crate) use request::ComponentRequest;
pub(crate) use source::at;

pub use compiler::{CacheUsage, Compilation, Compiler};
pub use precheck::check_component;
pub use worker::compiler_main;
