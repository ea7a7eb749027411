//! [`Protected`]: directories that no plugin may be granted, whatever its manifest says: the host's own files, those of other
//! plugins, and the kernel's file systems.
//!
//! A grant of such a directory, or beneath it, is refused for components and workers alike. A grant above one is allowed, but does
//! not include it: each runtime keeps its plugins out of it in its own way, or refuses the grant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{PluginError, Result};

/// File systems of the kernel, with its devices and processes, and memory that all processes of a user share.
const KERNEL: &[(&str, &str)] = &[
    ("/dev/shm", "memory that processes share"),
    ("/dev", "devices"),
    ("/proc", "the kernel's view of processes"),
    ("/sys", "the kernel's view of the machine"),
];

const EXCHANGE: &str = "the exchange, with the data of plugins";

/// The directories that no plugin may be granted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Protected(Arc<Places>);

#[derive(Debug, Clone)]
struct Places {
    /// Each with a description of its content.
    named: Vec<(PathBuf, &'static str)>,
    /// Directories in which hosts make their session directories of the exchange, which are recognized by name.
    exchanges: Vec<PathBuf>,
}

impl Default for Protected {
    /// The kernel's file systems, this user's directories of Bivium, and the exchanges in their usual places.
    fn default() -> Self {
        let own = directories::ProjectDirs::from("", "", "bivium");
        let home = directories::BaseDirs::new();
        let named = [
            (own.as_ref().map(|own| own.cache_dir().to_owned()), "the host's cache"),
            (own.as_ref().map(|own| own.data_dir().to_owned()), "the data of plugins"),
            (own.as_ref().map(|own| own.config_dir().to_owned()), "the host's settings"),
            (home.map(|home| home.home_dir().join(".bivium")), "the user's manifests"),
        ];
        let kernel = KERNEL.iter().map(|(path, what)| (Some(PathBuf::from(path)), *what));
        let empty = Self(Arc::new(Places { named: Vec::new(), exchanges: Exchange::usual_roots() }));
        kernel.chain(named).fold(empty, |all, (path, what)| all.and(path, what))
    }
}

impl Protected {
    /// Adds a directory, if there is one.
    #[must_use]
    pub fn and(mut self, path: Option<impl Into<PathBuf>>, what: &'static str) -> Self {
        if let Some(path) = path.map(Into::into) {
            // With links resolved; a directory that does not exist yet counts by its name.
            Arc::make_mut(&mut self.0).named.push((path.canonicalize().unwrap_or(path), what));
        }
        self
    }

    /// Adds the directories of this exchange.
    #[must_use]
    pub fn and_exchange(mut self, exchange: &Exchange) -> Self {
        Arc::make_mut(&mut self.0).exchanges.extend(exchange.roots());
        self
    }

    /// Refuses a directory (a path without links) that lies in a protected one.
    ///
    /// # Errors
    /// `denied`, with the grant and the protected directory.
    pub fn check(&self, granted: &Path) -> Result<()> {
        let Some((place, what)) = self.around(granted) else { return Ok(()) };
        let message =
            format!("permissions.filesystem grants {}, which lies in {}: {what}", granted.display(), place.display());
        Err(PluginError::denied(message).with_help("grant a directory that lies elsewhere"))
    }

    /// Whether a path without links lies in a protected directory.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        self.around(path).is_some()
    }

    /// A protected directory that lies in this one, or may be made in it, and a description of its content.
    #[must_use]
    pub fn beneath(&self, granted: &Path) -> Option<(PathBuf, &'static str)> {
        let exchanges = self.0.exchanges.iter().map(|root| (root, EXCHANGE));
        let named = self.0.named.iter().map(|(path, what)| (path, *what));
        let mut all = named.chain(exchanges).filter(|(place, _)| place.starts_with(granted));
        // Prefers one that exists.
        let found = all.clone().find(|(place, _)| place.exists()).or_else(|| all.next());
        found.map(|(place, what)| (place.clone(), what))
    }

    /// The protected directories that exist, each with a description of its content.
    pub fn existing(&self) -> impl Iterator<Item = (PathBuf, &'static str)> {
        let exchanges = self.0.exchanges.iter().flat_map(|root| Exchange::sessions_in(root));
        let all = exchanges.map(|path| (path, EXCHANGE)).chain(self.0.named.iter().cloned());
        all.filter(|(place, _)| place.is_dir())
    }

    /// The protected directory in which a path lies.
    fn around(&self, path: &Path) -> Option<(PathBuf, &'static str)> {
        let named = self.0.named.iter().find(|(place, _)| path.starts_with(place)).cloned();
        named.or_else(|| path.ancestors().find(|above| Exchange::is_session(above)).map(|at| (at.to_owned(), EXCHANGE)))
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;

    use super::*;

    #[test]
    fn grants_at_or_beneath_are_refused_and_grants_above_are_reported() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let exchange = Exchange::builder().root(&root).open().unwrap();
        let data = root.join("data");
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, root.join("link")).unwrap();
        let protected =
            Protected::default().and_exchange(&exchange).and(Some(root.join("link")), "the data of plugins");
        let session = exchange.directories().remove(0);
        let made_later = root.join("bivium-0-0123456789ab");
        for refused in
            [&data, &data.join("other"), &session, &session.join("blobs"), &made_later, Path::new("/proc/self")]
        {
            let error = protected.check(refused).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Denied);
            assert!(error.message().contains(refused.to_str().unwrap()), "{error}");
            assert!(protected.holds(refused));
        }
        for above in [&root, Path::new("/"), Path::new("/tmp"), root.parent().unwrap()] {
            protected.check(above).unwrap();
            assert!(protected.beneath(above).is_some(), "{}", above.display());
        }
        let models = root.join("models");
        protected.check(&models).unwrap();
        assert_eq!(protected.beneath(&models), None);
        let existing: Vec<_> = protected.existing().map(|(place, _)| place).collect();
        assert!(existing.contains(&data) && existing.contains(&session));
    }
}
