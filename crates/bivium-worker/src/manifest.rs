//! [`PythonManifest`]: the manifest of a Python plugin.

use std::ops::Deref;
use std::sync::Arc;

use bivium_interface::Manifest;
use bivium_interface::manifest::{PythonPlugin, Runtime};

/// The manifest of a Python plugin, with the part for Python plugins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PythonManifest {
    manifest: Arc<Manifest>,
    /// The part for Python plugins.
    pub python: Arc<PythonPlugin>,
}

impl PythonManifest {
    /// A manifest with its part for Python.
    #[must_use]
    pub fn new(manifest: &Arc<Manifest>, python: &Arc<PythonPlugin>) -> Self {
        Self { manifest: Arc::clone(manifest), python: Arc::clone(python) }
    }

    /// The same for any manifest; None if it is the manifest of a component.
    #[must_use]
    pub fn of(manifest: &Arc<Manifest>) -> Option<Self> {
        match &manifest.runtime {
            Runtime::Python(python) => Some(Self::new(manifest, python)),
            Runtime::Wasm(_) => None,
        }
    }
}

#[cfg(test)]
impl PythonManifest {
    pub(crate) fn parse(text: &str, path: &std::path::Path) -> bivium_interface::Result<Self> {
        Ok(Self::sure(Manifest::parse(text, path)?))
    }

    pub(crate) fn sure(manifest: Manifest) -> Self {
        Self::of(&Arc::new(manifest)).expect("a Python plugin")
    }

    pub(crate) fn python_mut(&mut self) -> &mut PythonPlugin {
        Arc::make_mut(&mut self.python)
    }
}

impl Deref for PythonManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}
