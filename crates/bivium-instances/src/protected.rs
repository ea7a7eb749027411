//! [`Protected`]: what no plugin may be granted, whatever its manifest says: the host's own files, those of other plugins, and where
//! the kernel shows itself.
//!
//! A grant at or beneath one of these places is refused, for components and workers alike. A grant above them is good without them:
//! each road keeps its plugins from them in its own way, or refuses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{PluginError, Result};

/// What the kernel shows of itself and of processes, and memory that all processes of a user share.
const KERNEL: &[(&str, &str)] = &[
    ("/dev/shm", "memory that others share"),
    ("/dev", "devices"),
    ("/proc", "the kernel's view of processes"),
    ("/sys", "the kernel's view of the machine"),
];

const EXCHANGE: &str = "the exchange, where plugins' data passes";

/// What no plugin may be granted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Protected(Arc<Places>);

#[derive(Debug, Clone)]
struct Places {
    /// Each with what it holds.
    named: Vec<(PathBuf, &'static str)>,
    /// Where hosts have their parts of the exchange, by names that tell.
    exchanges: Vec<PathBuf>,
}

impl Default for Protected {
    /// The kernel's places, this user's directories of Bivium, and the exchanges in the usual places.
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
    /// With one more place, if there is one.
    #[must_use]
    pub fn and(mut self, path: Option<impl Into<PathBuf>>, what: &'static str) -> Self {
        if let Some(path) = path.map(Into::into) {
            // By what it is, not by what it is called; one that is not there yet by its name.
            Arc::make_mut(&mut self.0).named.push((path.canonicalize().unwrap_or(path), what));
        }
        self
    }

    /// With the places of this exchange.
    #[must_use]
    pub fn and_exchange(mut self, exchange: &Exchange) -> Self {
        Arc::make_mut(&mut self.0).exchanges.extend(exchange.roots());
        self
    }

    /// Refuses a directory, free of links, that lies in one of the places.
    ///
    /// # Errors
    /// `denied`, naming the grant and what is there.
    pub fn check(&self, granted: &Path) -> Result<()> {
        let Some((place, what)) = self.around(granted) else { return Ok(()) };
        let message =
            format!("permissions.filesystem grants {}, which lies in {}: {what}", granted.display(), place.display());
        Err(PluginError::denied(message).with_help("grant a directory that lies elsewhere"))
    }

    /// Whether a path, free of links, lies in one of the places.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        self.around(path).is_some()
    }

    /// A place that lies in this directory, or may come to lie there, and what it holds.
    #[must_use]
    pub fn beneath(&self, granted: &Path) -> Option<(PathBuf, &'static str)> {
        let exchanges = self.0.exchanges.iter().map(|root| (root, EXCHANGE));
        let named = self.0.named.iter().map(|(path, what)| (path, *what));
        let mut all = named.chain(exchanges).filter(|(place, _)| place.starts_with(granted));
        // One that is there says more.
        let found = all.clone().find(|(place, _)| place.exists()).or_else(|| all.next());
        found.map(|(place, what)| (place.clone(), what))
    }

    /// The places that exist, each with what it holds.
    pub fn existing(&self) -> impl Iterator<Item = (PathBuf, &'static str)> {
        let exchanges = self.0.exchanges.iter().flat_map(|root| Exchange::sessions_in(root));
        let all = exchanges.map(|path| (path, EXCHANGE)).chain(self.0.named.iter().cloned());
        all.filter(|(place, _)| place.is_dir())
    }

    /// The place in which a path lies.
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
    fn grants_at_or_beneath_are_refused_and_those_above_are_known() {
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
