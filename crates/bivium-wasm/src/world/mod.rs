//! The worlds that this host runs: one module for each published version of package `bivium:plugin`.
//!
//! A module has the generated bindings of its version, the host's implementation of its imports, and its [`Guest`](crate::guest::Guest).
//! No module above depends on the version for which a component was built. A new version is a new module and a line in [`WORLDS`]; the
//! older ones stay, so that existing components go on running.

mod v0_1_0;

use wasmtime::component::{InstancePre, Linker};

use crate::guest::GuestPre;
use crate::state::HostState;

/// The package of these worlds.
pub(crate) const PACKAGE: &str = "bivium:plugin";
/// The interface that a plugin exports.
pub(crate) const GUEST_INTERFACE: &str = "guest";

/// The published versions, oldest first.
pub(crate) const WORLDS: &[World] =
    &[World { version: v0_1_0::VERSION, add_to_linker: v0_1_0::add_to_linker, guest: v0_1_0::guest }];

/// One published version.
pub(crate) struct World {
    pub(crate) version: &'static str,
    add_to_linker: fn(&mut Linker<HostState>) -> wasmtime::Result<()>,
    /// Finds the exports; an error says which is missing.
    pub(crate) guest: fn(InstancePre<HostState>) -> wasmtime::Result<Box<dyn GuestPre>>,
}

/// Links the imports of every version.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    WORLDS.iter().try_for_each(|world| (world.add_to_linker)(linker))
}

/// The world for a component that was built for `version`, by the rules of semantic versioning: below 1.0 the minor version must be the
/// same.
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
    fn a_version_is_run_by_the_compatible_world() {
        for version in ["0.1.0", "0.1.7"] {
            assert_eq!(of_version(version).unwrap().version, "0.1.0");
        }
        for other in ["0.2.0", "1.1.0", "", "x", "0", "0.x"] {
            assert!(of_version(other).is_none(), "{other}");
        }
    }

    #[test]
    fn no_two_worlds_are_compatible() {
        for world in WORLDS {
            assert_eq!(of_version(world.version).unwrap().version, world.version);
        }
    }
}
