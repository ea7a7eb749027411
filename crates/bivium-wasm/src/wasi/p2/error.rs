//! Errors of streams, as one line.

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::io::error::{self, Error};

use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    error::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl error::Host for HostState {}

impl error::HostError for HostState {
    fn to_debug_string(&mut self, error: Resource<Error>) -> wasmtime::Result<String> {
        // Not `Debug`: depending on the host's environment that contains a backtrace of the host.
        Ok(format!("{:#}", self.store.table.get(&error)?))
    }

    fn drop(&mut self, error: Resource<Error>) -> wasmtime::Result<()> {
        self.store.table.delete(error)?;
        Ok(())
    }
}
