//! [`WorkerPlaces`]: the directories that workers use.

use std::path::PathBuf;

use bivium_instances::Protected;

/// The directories that workers use.
#[derive(Debug, Clone, Default)]
pub struct WorkerPlaces {
    /// Files that can be made again: the worker's own program, environments, and the caches of their installers. If not given, it is the
    /// platform's cache directory, and installers use their own caches.
    pub cache: Option<PathBuf>,
    /// Environments made for `requirements`; if not given, they are in the cache.
    pub environments: Option<PathBuf>,
}

impl WorkerPlaces {
    /// Where environments are made; None for the default directory.
    pub(crate) fn environments(&self) -> Option<PathBuf> {
        self.environments.clone().or_else(|| Some(self.cache.as_ref()?.join("environments")))
    }

    /// Adds those directories that plugins must not be granted.
    #[must_use]
    pub fn protect(&self, protected: Protected) -> Protected {
        let protected = protected.and(self.cache.clone(), "the host's cache");
        protected.and(self.environments.clone(), "the environments of plugins")
    }
}
