//! WASI 0.2: the interfaces that the host implements itself.

mod cli;
mod clocks;
mod error;
mod random;

use wasmtime::component::Linker;

use crate::state::HostState;

/// Takes the place of the interfaces of `wasmtime-wasi`, which are linked already.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    cli::add_to_linker(linker)?;
    error::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    random::add_to_linker(linker)
}
