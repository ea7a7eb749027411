//! [`describe`]: what a component's file shows about it. None of its code runs, and none is compiled.

use bivium_interface::manifest::{Limits, WasmPlugin};
use bivium_interface::{MethodInfo, PluginError, Result};
use serde::Serialize;

use crate::compile::{ComponentRequest, at};
use crate::engine::WasmEngine;
use crate::kind::{self, ComponentKind};
use crate::{command, refusal, text};

/// The most names of one component that are listed.
const MAX_NAMES: usize = 1000;

/// What a component's file shows about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// What it imports.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Its functions, if it is a typed component or a program. A component of Bivium's world lists its methods only when it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<MethodInfo>>,
    /// Why this host would not load it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<PluginError>,
}

/// Something that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Import {
    /// An interface, or a function.
    pub name: String,
    /// The key of the permission that the interface needs to give access to anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<&'static str>,
}

/// The permission that each interface needs to give access to anything.
const PERMISSIONS: &[(&str, &str)] = &[
    ("wasi:cli/environment", "permissions.env"),
    ("wasi:clocks/", "permissions.clocks"),
    ("wasi:filesystem/", "permissions.filesystem"),
    ("wasi:http/", "permissions.network"),
    ("wasi:random/", "permissions.random"),
    ("wasi:sockets/", "permissions.network"),
];

/// Describes the component of the plugin of this name.
///
/// # Errors
/// Those of [`load`](crate::load) for a file that cannot be read or is not a component. Any other reason why it could not be loaded is
/// the description's `problem`.
pub async fn describe(engine: &WasmEngine, name: &str, plugin: &WasmPlugin, limits: &Limits) -> Result<Description> {
    let engine = engine.for_limits(limits)?;
    let request = ComponentRequest::of(name, plugin, limits, engine.config().compile_memory());
    let path = request.path.clone();
    let component = engine.loader().types(engine.wasmtime(), request).await?;
    let ty = component.component_type();
    let mut described = Description {
        imports: ty.imports(engine.wasmtime()).take(MAX_NAMES).map(|(name, _)| import(name)).collect(),
        exports: ty.exports(engine.wasmtime()).take(MAX_NAMES).map(|(name, _)| text::name(name)).collect(),
        ..Description::default()
    };
    let checked = kind::find(&component, engine.wasmtime()).and_then(|kind| {
        let linked = engine.linker().instantiate_pre(&component).map_err(|error| refusal::missing_import(&error))?;
        match kind {
            ComponentKind::World(world) => {
                (world.guest)(linked).map(drop).map_err(|error| refusal::missing_export(&error))?
            }
            ComponentKind::Command(_) => described.methods = Some(command::methods()),
            ComponentKind::Typed(methods) => described.methods = Some(methods.list()),
        }
        Ok(())
    });
    described.problem = checked.err().map(|error| at(&path, error));
    Ok(described)
}

fn import(name: &str) -> Import {
    let permission = PERMISSIONS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, key)| *key);
    Import { name: text::name(name), permission }
}
