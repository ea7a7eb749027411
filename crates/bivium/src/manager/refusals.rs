//! Finds errors that loading a plugin would have, without running or compiling anything.

use std::sync::Arc;

use bivium_interface::{Manifest, PluginError, Result};

use super::{ManagerBuilder, PluginManager};
use crate::config::Schema;
use crate::construct::Options;
use crate::data_dir::default_data_dir;
use crate::discovery::SearchPath;
use crate::sources;

impl PluginManager {
    /// The errors that loading the plugin would have because of its manifest and the host's policy: directories that no plugin is granted,
    /// requirements that no installer is given, modules and an interpreter that a confined plugin may not have, what `enforce` demands and
    /// this machine cannot enforce, an invalid configuration schema. Blocks on the file system, and with `enforce` for some milliseconds
    /// the first time.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub fn refusals(&self, name: &str) -> Result<Vec<PluginError>> {
        let manifest = self.manifest(name)?;
        Ok(refusals(&manifest, self.inner.constructor.options(), &self.inner.search_paths))
    }
}

impl ManagerBuilder {
    /// As [`PluginManager::refusals`], for a plugin with this manifest in the manager that this builder would make.
    #[must_use]
    pub fn refusals(&self, manifest: &Arc<Manifest>) -> Vec<PluginError> {
        let mut options = self.options.clone();
        options.data = self.data_dir.clone().or_else(default_data_dir);
        refusals(manifest, &options, &self.search_paths)
    }
}

fn refusals(manifest: &Arc<Manifest>, options: &Options, searched: &[SearchPath]) -> Vec<PluginError> {
    let granted = options.policy.grant(manifest);
    let mut all = Vec::new();
    if granted.confined {
        let protected = options.protected();
        let refused =
            |directory: &bivium_interface::manifest::FilesystemPermission| protected.check(&directory.path).err();
        all.extend(granted.permissions.filesystem.iter().filter_map(refused));
        all.extend(sources::check(&granted, searched, std::iter::once(Arc::clone(manifest))).err());
    }
    #[cfg(feature = "python")]
    if let Some(manifest) = bivium_worker::PythonManifest::of(manifest) {
        all.extend(bivium_worker::refusals(&manifest, &granted));
    }
    all.extend(Schema::of_manifest(manifest).and_then(Result::err));
    all.into_iter().map(|error| error.with_plugin(&manifest.name)).collect()
}
