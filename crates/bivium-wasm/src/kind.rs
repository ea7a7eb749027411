//! [`ComponentKind`]: what kind of plugin a component is, found from its imports and exports.

use bivium_interface::{PluginError, Result};
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex};

use crate::typed::Methods;
use crate::world::{self, GUEST_INTERFACE, PACKAGE, WORLDS, World};
use crate::{command, text};

/// What kind of plugin a component is.
pub(crate) enum ComponentKind {
    /// It implements a published version of Bivium's world.
    World(&'static World),
    /// It is a program with this export `run`.
    Command(ComponentExportIndex),
    /// It exports functions of its own.
    Typed(Methods),
}

/// Finds the kind of a component from its imports and exports.
pub(crate) fn find(component: &Component, engine: &Engine) -> Result<ComponentKind> {
    let ty = component.component_type();
    let names = ty.imports(engine).chain(ty.exports(engine)).map(|(name, _)| name);
    if let Some(version) = names.filter_map(version_in).find(|version| world::of_version(version).is_none()) {
        return Err(PluginError::invalid_manifest(format!(
            "the component is built for version {} of {PACKAGE}, and this host runs {}",
            text::name(version),
            versions()
        ))
        .with_help("build it against this host's wit/, or use a host of its version"));
    }
    let interface = format!("{PACKAGE}/{GUEST_INTERFACE}@");
    let version = ty.exports(engine).find_map(|(name, _)| name.strip_prefix(&interface));
    if let Some(world) = version.and_then(world::of_version) {
        return Ok(ComponentKind::World(world));
    }
    if let Some(run) = command::find(component, engine) {
        return Ok(ComponentKind::Command(run));
    }
    let methods = Methods::of(component, engine)?;
    if methods.is_empty() {
        return Err(PluginError::invalid_manifest(format!(
            "the component exports nothing that can be called: neither `{PACKAGE}/{GUEST_INTERFACE}` of {} nor functions of \
             its own",
            versions()
        ))
        .with_help("implement world `bivium:plugin/plugin`, or export a function"));
    }
    Ok(ComponentKind::Typed(methods))
}

/// "version 0.1.0", or "versions 0.1.0 and 0.2.0".
fn versions() -> String {
    let known: Vec<&str> = WORLDS.iter().map(|world| world.version).collect();
    format!("version{} {}", if known.len() == 1 { "" } else { "s" }, known.join(" and "))
}

/// The version in the name of an interface of Bivium's package.
fn version_in(name: &str) -> Option<&str> {
    let interface = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(interface.split_once('@').map_or("", |(_, version)| version))
}
