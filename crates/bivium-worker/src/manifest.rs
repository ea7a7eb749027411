//! [`PythonManifest`]: the manifest of a Python plugin.

use std::ops::Deref;
use std::sync::Arc;

use bivium_interface::Manifest;
use bivium_interface::manifest::{PythonPlugin, Runtime};

/// The manifest of a Python plugin, with the part that only Python plugins have. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PythonManifest {
    manifest: Arc<Manifest>,
    /// What only Python plugins have.
    pub python: Arc<PythonPlugin>,
}

impl PythonManifest {
    /// A manifest, and its own part for Python.
    #[must_use]
    pub fn new(manifest: &Arc<Manifest>, python: &Arc<PythonPlugin>) -> Self {
        Self { manifest: Arc::clone(manifest), python: Arc::clone(python) }
    }

    /// The same of any manifest; none of a component's.
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
