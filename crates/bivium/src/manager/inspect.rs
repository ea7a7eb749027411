//! What can be known of a plugin without running it.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(not(all(feature = "wasm", feature = "python")))]
use bivium_interface::manifest::RuntimeKind;
use bivium_interface::manifest::{PythonPlugin, Runtime, WasmPlugin};
use bivium_interface::{Manifest, MethodInfo, PluginError, Result, lossy};
use serde::Serialize;

use super::PluginManager;

/// What a plugin's files say of it. None of its code has run, nor its interpreter.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The file that was read: the component, or the module with the class.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    pub file: Option<PathBuf>,
    /// Its methods, where the file tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<MethodInfo>>,
    /// What a component imports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// What a component exports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<String>,
    /// What could not be known, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it would not load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<PluginError>,
}

/// Something that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Import {
    /// An interface, or a function.
    pub name: String,
    /// The permission without which it finds nothing there, if it is one that needs any.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub permission: Option<ImportPermission>,
}

/// The permission that an import needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportPermission {
    /// Its key, for example `permissions.network`.
    #[serde(rename = "permission")]
    pub key: &'static str,
    /// Whether the manifest asks for any of it.
    pub asked: bool,
    /// Whether the plugin gets any of it.
    pub granted: bool,
}

impl PluginManager {
    /// What can be known of a plugin without running it: of a component, its types and imports; of a Python class, its methods
    /// as its source declares them. Dropping the future stops what it can.
    ///
    /// # Errors
    /// `not-found` or `invalid-manifest` if there is no such plugin. What is wrong with its files is the inspection's
    /// `problem`.
    pub async fn inspect(&self, name: &str) -> Result<Inspection> {
        let manifest = self.manifest(name)?;
        match &manifest.runtime {
            Runtime::Wasm(plugin) => Ok(self.inspect_component(&manifest, plugin).await),
            Runtime::Python(plugin) => {
                let (manifest, plugin) = (Arc::clone(&manifest), Arc::clone(plugin));
                let outline = tokio::task::spawn_blocking(move || class(&manifest, &plugin)).await;
                outline.map_err(|error| PluginError::internal(format!("reading its source did not end: {error}")))
            }
        }
    }

    #[cfg(not(feature = "wasm"))]
    async fn inspect_component(&self, manifest: &Manifest, plugin: &WasmPlugin) -> Inspection {
        let problem = crate::construct::absent(RuntimeKind::Wasm).with_plugin(&manifest.name);
        Inspection {
            file: plugin.component.file().map(ToOwned::to_owned),
            problem: Some(problem),
            ..Inspection::default()
        }
    }

    #[cfg(feature = "wasm")]
    async fn inspect_component(&self, manifest: &Manifest, plugin: &WasmPlugin) -> Inspection {
        let granted = self.inner.constructor.granted(manifest);
        let described = match self.inner.constructor.describe(manifest, plugin).await {
            Ok(described) => described,
            Err(error) => {
                return Inspection { problem: Some(error.with_plugin(&manifest.name)), ..Inspection::default() };
            }
        };
        let mut notes = Vec::new();
        if described.methods.is_none() && described.problem.is_none() {
            notes.push("it tells its methods and its configuration when it runs".to_owned());
        }
        let imports = described.imports.into_iter().map(|import| Import {
            name: import.name,
            permission: import.permission.map(|key| permission(key, manifest, &granted)),
        });
        Inspection {
            file: plugin.component.file().map(ToOwned::to_owned),
            methods: described.methods,
            imports: imports.collect(),
            exports: described.exports,
            notes,
            problem: described.problem.map(|error| error.with_plugin(&manifest.name)),
        }
    }
}

#[cfg(feature = "wasm")]
fn permission(key: &'static str, manifest: &Manifest, granted: &bivium_interface::Granted) -> ImportPermission {
    let is_in = |permissions: &bivium_interface::manifest::Permissions| match key {
        "permissions.env" => !permissions.env.is_empty(),
        "permissions.clocks" => permissions.clocks,
        "permissions.random" => permissions.random,
        "permissions.filesystem" => !permissions.filesystem.is_empty() || permissions.blob_files,
        "permissions.network" => !permissions.network.is_empty(),
        _ => false,
    };
    let asked = manifest.permissions.as_ref().is_some_and(is_in);
    ImportPermission { key, asked, granted: is_in(&granted.permissions) }
}

/// The class as its source declares it; the methods of a plugin of cjm-plugin-system as its manifest has them.
fn class(manifest: &Arc<Manifest>, plugin: &Arc<PythonPlugin>) -> Inspection {
    #[cfg(feature = "python")]
    let mut inspection = {
        let manifest = &bivium_worker::PythonManifest::new(manifest, plugin);
        let outline = bivium_worker::outline(manifest);
        let problem = outline.refusal(manifest);
        Inspection {
            file: outline.file,
            methods: outline.methods,
            notes: outline.notes,
            problem,
            ..Inspection::default()
        }
    };
    #[cfg(not(feature = "python"))]
    let mut inspection = {
        let problem = crate::construct::absent(RuntimeKind::Python).with_plugin(&manifest.name);
        Inspection { problem: Some(problem), ..Inspection::default() }
    };
    let surface = plugin.ancestor.as_ref().and_then(|ancestor| ancestor.structural_surface.as_ref());
    if let (None, Some(surface)) = (&inspection.methods, surface) {
        let method = |method: &bivium_interface::manifest::SurfaceMethod| {
            MethodInfo::new(&method.name).with_signature(&method.signature)
        };
        inspection.methods = Some(surface.methods.iter().map(method).collect());
        inspection.notes.push("the methods are those that its manifest had when it was made".to_owned());
    }
    inspection
}
