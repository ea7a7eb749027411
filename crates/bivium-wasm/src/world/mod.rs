//! The worlds that this host runs: one module for each published version of package `bivium:plugin`.
//!
//! A module holds the generated bindings of its version, the host's side of its imports, and a `Guest` that speaks in
//! the terms of `bivium-interface`. Nothing above knows which version a component was built for. There is one version
//! so far; with the next, `Guest` and `GuestPre` become enums over the modules.

mod v0_1_0;

use wasmtime::component::Linker;

use crate::state::HostState;

pub(crate) use v0_1_0::{Guest, GuestPre, GuestStream};

/// The package whose worlds are run.
pub(crate) const PACKAGE: &str = "bivium:plugin";
/// The interface that a plugin exports.
pub(crate) const GUEST: &str = "guest";
/// The newest version that this host runs.
pub(crate) const VERSION: &str = "0.1.0";

/// Links the imports of every version.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    v0_1_0::add_to_linker(linker)
}

/// Whether a component built for `version` finds what it needs here: by the rules of semantic versioning, below 1.0
/// the minor version must be the same.
pub(crate) fn is_compatible(version: &str) -> bool {
    fn line(version: &str) -> Option<(u64, Option<u64>)> {
        let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
        let major = parts.next()??;
        let minor = parts.next()??;
        Some((major, (major == 0).then_some(minor)))
    }
    line(version).is_some_and(|wanted| line(VERSION) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_same_line_are_compatible() {
        assert!(is_compatible("0.1.0") && is_compatible("0.1.7"));
        for other in ["0.2.0", "1.1.0", "", "x", "0", "0.x"] {
            assert!(!is_compatible(other), "{other}");
        }
    }
}
