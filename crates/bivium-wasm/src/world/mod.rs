//! The worlds that this host runs: one module for each published version of package `bivium:plugin`.
//!
//! A module holds the generated bindings of its version, the host's side of its imports, and a [`Guest`] that speaks in
//! the terms of `bivium-interface`. Nothing above knows which version a component was built for. A new version is a new
//! module and a line in [`WORLDS`]; the older ones stay, so that what was built for them goes on running.

mod v0_1_0;

use async_trait::async_trait;
use bivium_interface::{Call, MethodInfo, Payload, Result};
use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker};

use crate::state::HostState;

/// The package whose worlds are run.
pub(crate) const PACKAGE: &str = "bivium:plugin";
/// The interface that a plugin exports.
pub(crate) const GUEST: &str = "guest";

/// The published versions, oldest first.
pub(crate) const WORLDS: &[World] = &[v0_1_0::WORLD];

/// One published version.
pub(crate) struct World {
    pub(crate) version: &'static str,
    add_to_linker: fn(&mut Linker<HostState>) -> wasmtime::Result<()>,
    /// Finds the exports; an error says which is missing.
    pub(crate) guest: fn(InstancePre<HostState>) -> wasmtime::Result<Box<dyn GuestPre>>,
}

/// A component whose imports are resolved and whose exports have been found.
#[async_trait]
pub(crate) trait GuestPre: Send + Sync {
    /// Runs the component's start code. The inner error says which export has the wrong type.
    async fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<wasmtime::Result<Box<dyn Guest>>>;

    /// Whether an instance serves one call and no other, whatever the manifest says.
    fn is_single_use(&self) -> bool {
        false
    }
}

/// The exports of one instance, each looked up once. The outer error of every method is a trap, after which the store
/// is of no more use; the inner one is the plugin's answer, or says why the plugin was not entered.
#[async_trait]
pub(crate) trait Guest: Send + Sync {
    async fn methods(&self, store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>>;

    /// The schema as JSON text.
    async fn config_schema(&self, store: &mut Store<HostState>) -> wasmtime::Result<String>;

    /// The configuration as JSON text.
    async fn current_config(&self, store: &mut Store<HostState>) -> wasmtime::Result<String>;

    /// `config` is JSON text.
    async fn initialize(&self, store: &mut Store<HostState>, config: String) -> wasmtime::Result<Result<()>>;

    /// Takes out of the call what goes in, as does `execute_stream`, and puts the answer into `result`: it is large, and
    /// each of the futures around this one would move it.
    async fn execute(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
        result: &mut Payload,
    ) -> wasmtime::Result<Result<()>>;

    /// A guest without streams gives the one result of `execute`.
    async fn execute_stream(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
    ) -> wasmtime::Result<Result<Box<dyn GuestStream>>> {
        let mut result = Payload::default();
        let done = self.execute(store, call, &mut result).await?;
        Ok(done.map(|()| Box::new(OneResult(Some(result))) as _))
    }

    async fn cleanup(&self, store: &mut Store<HostState>) -> wasmtime::Result<()>;
}

/// A stream that a guest holds open.
#[async_trait]
pub(crate) trait GuestStream: Send + Sync {
    /// Puts the next result into `result`, or none at the end.
    async fn next(
        &mut self,
        store: &mut Store<HostState>,
        result: &mut Option<Payload>,
    ) -> wasmtime::Result<Result<()>>;

    /// Has the guest drop it.
    async fn end(self: Box<Self>, store: &mut Store<HostState>) -> wasmtime::Result<()>;
}

/// The one result of a call that was asked for as a stream.
struct OneResult(Option<Payload>);

#[async_trait]
impl GuestStream for OneResult {
    async fn next(
        &mut self,
        _store: &mut Store<HostState>,
        result: &mut Option<Payload>,
    ) -> wasmtime::Result<Result<()>> {
        *result = self.0.take();
        Ok(Ok(()))
    }

    async fn end(self: Box<Self>, _store: &mut Store<HostState>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// Links the imports of every version.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    WORLDS.iter().try_for_each(|world| (world.add_to_linker)(linker))
}

/// The world in which a component built for `version` finds what it needs: by the rules of semantic versioning, below
/// 1.0 the minor version must be the same.
pub(crate) fn of_version(version: &str) -> Option<&'static World> {
    fn line(version: &str) -> Option<(u64, Option<u64>)> {
        let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
        let major = parts.next()??;
        let minor = parts.next()??;
        Some((major, (major == 0).then_some(minor)))
    }
    let wanted = line(version)?;
    WORLDS.iter().find(|world| line(world.version) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_run_by_the_world_of_its_line() {
        for version in ["0.1.0", "0.1.7"] {
            assert_eq!(of_version(version).unwrap().version, "0.1.0");
        }
        for other in ["0.2.0", "1.1.0", "", "x", "0", "0.x"] {
            assert!(of_version(other).is_none(), "{other}");
        }
    }

    #[test]
    fn no_two_worlds_are_of_one_line() {
        for world in WORLDS {
            assert_eq!(of_version(world.version).unwrap().version, world.version);
        }
    }
}
