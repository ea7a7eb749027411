//! The environment: the variables that are granted by name, no arguments, no working directory.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;

use super::rights::ENV;
use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    environment::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl environment::Host for HostState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        if self.witness.first_use(ENV) {
            for (name, _) in &self.rights.environment {
                self.witness.granted(ENV, name.clone());
            }
        }
        Ok(self.rights.environment.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
