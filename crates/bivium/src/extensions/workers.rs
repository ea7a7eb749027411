//! Hands what `bivium-cjm` has for a worker over to `bivium-worker`.

use std::sync::Arc;

use bivium_cjm::{CjmManifest, Places};
use bivium_instances::PluginContext;
use bivium_interface::{Manifest, Result};
use bivium_worker::{Variables, WorkerExtension, WorkerExtras};

/// What gives a plugin's workers more; none for plugins that get nothing.
pub(crate) fn of_worker(manifest: &Arc<Manifest>, places: &Places) -> Option<Arc<dyn WorkerExtension>> {
    let own = CjmManifest::of(manifest)?.clone();
    Some(Arc::new(CjmWorkers { manifest: Arc::clone(manifest), own, places: places.clone() }))
}

struct CjmWorkers {
    manifest: Arc<Manifest>,
    own: CjmManifest,
    places: Places,
}

impl WorkerExtension for CjmWorkers {
    fn prepare(&self, variables: &mut Variables, host: &Variables, context: &PluginContext) -> Result<WorkerExtras> {
        let given = bivium_cjm::prepare(&self.manifest, &self.own, &self.places, host, variables, context)?;
        let mut extras = WorkerExtras::default();
        extras.data = Some(given.data);
        (extras.secrets, extras.declared) = (given.secrets, given.declared);
        (extras.log_level, extras.settings) = (given.log_level, given.settings);
        Ok(extras)
    }
}
