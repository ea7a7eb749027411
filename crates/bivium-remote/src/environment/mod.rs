//! Which Python interpreter a worker of a manifest runs with, and the environments made for `requirements`.

use std::path::{Path, PathBuf};

use bivium_instances::PluginLog;
use bivium_interface::{Manifest, PluginError};

/// A Python interpreter that was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The program, absolute; symbolic links in it are kept, since a virtual environment's interpreter is one.
    pub(crate) path: PathBuf,
    /// Its version, at least 3.9.
    pub(crate) version: (u32, u32, u32),
}

/// The interpreter for a worker of this manifest. Under construction.
pub(crate) async fn interpreter(
    _manifest: &Manifest,
    _environments: Option<&Path>,
    _log: &PluginLog,
) -> Result<Interpreter, PluginError> {
    Err(PluginError::internal("under construction"))
}
