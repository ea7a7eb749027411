//! [`refusals`]: why a Python plugin would not be loaded, as far as its manifest and the paths of files show.

use bivium_interface::{Granted, PluginError};

use crate::manifest::PythonManifest;
use crate::{confinement, environment};

/// Why loading a plugin with this manifest would be refused, before any program runs: its requirements, its versions of Python, for a
/// confined plugin the directories of its modules and its interpreter, and what must be enforced and this machine cannot enforce. Blocks
/// on the file system, and as [`not_held`](crate::not_held) does.
#[must_use]
pub fn refusals(manifest: &PythonManifest, granted: &Granted) -> Vec<PluginError> {
    let mut all = environment::refusals(manifest, granted.confined);
    all.extend(confinement::refusal_of_source(manifest, granted));
    all.extend(confinement::refusal_to_enforce(granted));
    all
}
