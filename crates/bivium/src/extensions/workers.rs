//! Hands what `bivium-cjm` has for a worker over to `bivium-worker`.

use std::sync::Arc;

use bivium_cjm::{CjmManifest, Places};
use bivium_instances::PluginContext;
use bivium_interface::{Manifest, PluginError, Result};
use bivium_worker::{Variables, WorkerExtension, WorkerExtras};

/// What gives a plugin's workers more; none for plugins that get nothing.
pub(crate) fn of_worker(manifest: &Arc<Manifest>, places: &Places) -> Option<Arc<dyn WorkerExtension>> {
    CjmManifest::of(manifest)?;
    Some(Arc::new(CjmWorkers { manifest: Arc::clone(manifest), places: places.clone() }))
}

struct CjmWorkers {
    manifest: Arc<Manifest>,
    places: Places,
}

impl WorkerExtension for CjmWorkers {
    fn prepare(&self, variables: &mut Variables, host: &Variables, context: &PluginContext) -> Result<WorkerExtras> {
        let own = CjmManifest::of(&self.manifest).ok_or_else(|| PluginError::internal("not of cjm-plugin-system"))?;
        let given = bivium_cjm::prepare(&self.manifest, own, &self.places, host, variables, context)?;
        let mut extras = WorkerExtras::default();
        extras.data = Some(given.data);
        (extras.secrets, extras.declared) = (given.secrets, given.declared);
        (extras.log_level, extras.settings) = (given.log_level, given.settings);
        Ok(extras)
    }
}
