//! [`Confinement`] and [`Sandbox`] on other systems than Linux: each process's own limits are set, and the rest is reported as missing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bivium_exchange::{Area, Exchange};
use bivium_instances::PluginContext;
use bivium_interface::{Granted, PluginError, Result};
use rustix::process::{Resource, Rlimit};

use super::limits;
use super::shortfall::{Means, tell};
use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;

/// There are no means to confine workers.
pub(super) fn means(_granted: &Granted) -> Means {
    Means::default()
}

/// Never a reason: a plugin may always use its `source` here.
pub(crate) fn refusal_of_source(_manifest: &PythonManifest, _granted: &Granted) -> Option<PluginError> {
    None
}

/// How one plugin's workers are confined.
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
    /// Logs in the plugin's log what this machine cannot enforce.
    ///
    /// # Errors
    /// `denied` if that must be enforced, naming each.
    pub(crate) fn new(
        _manifest: &PythonManifest,
        context: &PluginContext,
        _exchange: &Exchange,
        _places: &WorkerPlaces,
        _python: &Path,
        _package: &Path,
    ) -> Result<Self> {
        tell(context, means(&context.granted))?;
        Ok(Self { granted: Arc::clone(&context.granted) })
    }

    /// Whether a worker is confined to its permissions.
    pub(crate) fn is_confined(&self) -> bool {
        self.granted.confined
    }

    /// Whether a worker may look up host names: nothing prevents that here.
    pub(crate) fn lookups(&self) -> bool {
        true
    }

    /// Whether a worker may read this file without a grant.
    pub(crate) fn lets_read(&self, _path: &Path) -> bool {
        true
    }

    /// A sandbox for one worker.
    pub(crate) fn sandbox<'a>(
        &self,
        _name: &str,
        _area: &Area,
        _lasting: &[&Path],
        _windows: impl Iterator<Item = &'a Path>,
    ) -> Result<Sandbox> {
        Ok(Sandbox { resources: limits::resources(&self.granted.limits, self.is_confined()) })
    }
}

/// The limits of one worker.
pub(crate) struct Sandbox {
    resources: Vec<(Resource, Rlimit)>,
}

impl Sandbox {
    pub(crate) fn is_open(&self) -> bool {
        self.resources.is_empty()
    }

    pub(crate) fn take_group(&mut self) -> Option<Group> {
        None
    }

    /// The limits, to be set between fork and exec.
    pub(crate) fn limits(&self) -> Vec<(Resource, Rlimit)> {
        self.resources.clone()
    }

    /// Sets the limits. System calls only.
    pub(crate) fn apply(limits: &[(Resource, Rlimit)]) -> io::Result<()> {
        Ok(limits::apply(limits)?)
    }
}
