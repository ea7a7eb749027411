//! The environment: the variables that are granted by name, a program's arguments, no working directory.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;

use super::rights::ENV;
use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    environment::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl environment::Host for HostState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let names = self.rights.environment.iter().map(|(name, _)| name.as_str());
        let may_see = self.store.witness.granted_once(ENV, names);
        Ok(if may_see { self.rights.environment.clone() } else { Vec::new() })
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.command.as_ref().map(|command| command.arguments()).unwrap_or_default())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
