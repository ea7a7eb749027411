//! `wasi:cli/environment`. The rest of `wasi:cli` comes from `wasmtime-wasi`, with the streams of
//! [`Cli`](crate::capability::cli::Cli).

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;

use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    environment::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl environment::Host for HostState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.cli.environment(&self.store))
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.cli.arguments())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
