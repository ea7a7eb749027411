//! [`refusals`]: what would keep a Python plugin from being loaded, as far as its manifest and the places of files tell.

use bivium_interface::{Granted, PluginError};

use crate::manifest::PythonManifest;
use crate::{confinement, environment};

/// What loading a plugin with this manifest would be refused for, before any program runs: its requirements, its versions of Python, and of
/// one that is confined where its modules and its interpreter lie. Blocks on the file system.
#[must_use]
pub fn refusals(manifest: &PythonManifest, granted: &Granted) -> Vec<PluginError> {
    let mut all = environment::refusals(manifest, granted.confined);
    all.extend(confinement::refusal_of_source(manifest, granted));
    all
}
