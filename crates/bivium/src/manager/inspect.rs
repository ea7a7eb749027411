//! Describes a plugin without running it.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(not(all(feature = "wasm", feature = "python")))]
use bivium_interface::manifest::RuntimeKind;
use bivium_interface::manifest::{Extension, PythonPlugin, Runtime, WasmPlugin};
use bivium_interface::{Manifest, MethodInfo, PluginError, Result, lossy};
use serde::Serialize;

use super::PluginManager;

/// What a plugin's files say about it. Neither its code nor its interpreter has run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The file that was read: the component, or the module with the class.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    pub file: Option<PathBuf>,
    /// Its methods, if the file tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<MethodInfo>>,
    /// What a component imports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    /// What a component exports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<String>,
    /// What is not known, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why the plugin would not load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<PluginError>,
}

/// An import of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Import {
    /// The name of an interface or a function.
    pub name: String,
    /// The permission that the import needs, if it needs one.
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
    /// Whether the manifest asks for it, at least in part.
    pub asked: bool,
    /// Whether the plugin is granted it, at least in part.
    pub granted: bool,
}

impl PluginManager {
    /// Describes a plugin without running it: a component by its types and imports, a Python class by the methods in its source. Dropping
    /// the future stops the work as far as possible.
    ///
    /// # Errors
    /// `not-found` or `invalid-manifest` if there is no such plugin. Errors in its files are returned as the inspection's `problem`.
    pub async fn inspect(&self, name: &str) -> Result<Inspection> {
        let manifest = self.manifest(name)?;
        match &manifest.runtime {
            Runtime::Wasm(plugin) => Ok(self.inspect_component(&manifest, plugin).await),
            Runtime::Python(plugin) => Ok(with_named_methods(self.inspect_object(&manifest, plugin).await?, &manifest)),
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
            notes.push("its methods and its configuration are known only when it runs".to_owned());
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

    /// The class or the function as its source declares it.
    #[cfg(feature = "python")]
    async fn inspect_object(&self, manifest: &Arc<Manifest>, plugin: &Arc<PythonPlugin>) -> Result<Inspection> {
        let constructor = &self.inner.constructor;
        let (places, confined) = (constructor.options().places.clone(), constructor.granted(manifest).confined);
        let manifest = bivium_worker::PythonManifest::new(manifest, plugin);
        let look = move || {
            let outline = bivium_worker::outline_made(&manifest, &places, confined);
            let problem = outline.refusal(&manifest);
            (outline, problem)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let (outline, problem) =
            looked.map_err(|error| PluginError::internal(format!("its source could not be read: {error}")))?;
        Ok(Inspection {
            file: outline.file,
            methods: outline.methods,
            notes: outline.notes,
            problem,
            ..Inspection::default()
        })
    }

    #[cfg(not(feature = "python"))]
    async fn inspect_object(&self, manifest: &Arc<Manifest>, _: &Arc<PythonPlugin>) -> Result<Inspection> {
        let problem = crate::construct::absent(RuntimeKind::Python).with_plugin(&manifest.name);
        Ok(Inspection { problem: Some(problem), ..Inspection::default() })
    }
}

/// With the methods that the manifest names, if the source does not say them.
fn with_named_methods(mut inspection: Inspection, manifest: &Manifest) -> Inspection {
    let mut extensions = manifest.extensions.iter();
    if let (None, Some(methods)) = (&inspection.methods, extensions.find_map(Extension::methods)) {
        inspection.methods = Some(methods);
        inspection
            .notes
            .push("the methods are those in its manifest, from the time when the manifest was made".to_owned());
    }
    inspection
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
