//! [`Confinement`] and [`Cage`] elsewhere than on Linux: each process's own limits are set, and the rest is told as missing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bivium_exchange::Area;
use bivium_instances::PluginContext;
use bivium_interface::{Granted, Manifest, Result};
use rustix::process::{Resource, Rlimit};

use super::limits;
use super::shortfall::{Means, tell};

/// How one plugin's workers are held.
pub(crate) struct Confinement {
    granted: Arc<Granted>,
}

/// There are no control groups.
#[derive(Debug)]
pub(crate) enum Group {}

impl Group {
    pub(crate) fn kill(&self) {}
}

impl Confinement {
    /// Says in the plugin's log what this machine cannot hold.
    ///
    /// # Errors
    /// `denied` if that is to be enforced, naming each.
    pub(crate) fn new(_manifest: &Manifest, context: &PluginContext, _python: &Path, _package: &Path) -> Result<Self> {
        tell(context, Means::default())?;
        Ok(Self { granted: Arc::clone(&context.granted) })
    }

    /// Whether its permissions hold a worker.
    pub(crate) fn is_confined(&self) -> bool {
        self.granted.confined
    }

    /// Whether a worker may read this file in any case.
    pub(crate) fn lets_read(&self, _path: &Path) -> bool {
        true
    }

    /// A cage for one worker.
    pub(crate) fn cage<'a>(
        &self,
        _name: &str,
        _area: &Area,
        _data: Option<&Path>,
        _windows: impl Iterator<Item = &'a Path>,
    ) -> Result<Cage> {
        Ok(Cage { resources: limits::resources(&self.granted.limits, self.is_confined()) })
    }
}

/// What one worker is put into.
pub(crate) struct Cage {
    resources: Vec<(Resource, Rlimit)>,
}

impl Cage {
    pub(crate) fn listener(&self) -> Option<i32> {
        None
    }

    pub(crate) fn is_open(&self) -> bool {
        self.resources.is_empty()
    }

    pub(crate) fn take_group(&mut self) -> Option<Group> {
        None
    }

    pub(crate) fn close(&mut self) -> io::Result<()> {
        limits::apply(&self.resources)
    }
}
