//! [`Protected`]: what no worker may be granted, whatever its manifest says: the host's own files and those of other plugins.
//!
//! A grant at or beneath one of these places is refused. A grant above them is good without them, where the worker has a root of its
//! own in which they can be covered.

use std::path::{Path, PathBuf};

use bivium_exchange::Exchange;
use bivium_interface::{PluginError, Result};

use crate::proxy::WorkerPlaces;

/// What the kernel shows of itself and of processes, and memory that all processes of a user share.
const KERNEL: &[(&str, &str)] = &[
    ("/dev/shm", "memory that others share; the worker has a /dev/shm of its own"),
    ("/dev", "devices"),
    ("/proc", "the kernel's view of processes"),
    ("/sys", "the kernel's view of the machine"),
];

/// Where services of the machine and of users have their sockets.
const SOCKETS: &[&str] = &["/run", "/tmp", "/var/run", "/var/tmp"];

/// What no worker may be granted.
pub(super) struct Protected {
    exchange: Exchange,
    /// Each with what it holds.
    places: Vec<(PathBuf, &'static str)>,
}

impl Protected {
    pub(super) fn of(exchange: &Exchange, places: &WorkerPlaces) -> Self {
        let own = directories::ProjectDirs::from("", "", "bivium");
        let home = directories::BaseDirs::new();
        let named = [
            (places.environments.clone(), "the environments of plugins"),
            (places.data.clone(), "the data of plugins"),
            (places.ancestor_data.clone(), "the data of plugins"),
            (own.as_ref().map(|own| own.cache_dir().to_owned()), "the host's cache"),
            (own.as_ref().map(|own| own.data_dir().to_owned()), "the data of plugins"),
            (own.as_ref().map(|own| own.config_dir().to_owned()), "the host's settings"),
            (home.map(|home| home.home_dir().join(".bivium")), "the user's manifests"),
        ];
        let named = named.into_iter().filter_map(|(path, what)| Some((path?, what)));
        let kernel = KERNEL.iter().map(|(path, what)| (PathBuf::from(path), *what));
        // By what they are, not by what they are called; one that is not there yet by its name.
        let places = kernel.chain(named).map(|(path, what)| (path.canonicalize().unwrap_or(path), what)).collect();
        Self { exchange: exchange.clone(), places }
    }

    /// Refuses a grant that is not to be had.
    ///
    /// # Errors
    /// `denied`, naming the grant and what is there.
    pub(super) fn check(&self, granted: &[PathBuf], can_cover: bool) -> Result<()> {
        for path in granted {
            for (place, what) in self.everything() {
                if path.starts_with(&place) {
                    let message = format!(
                        "permissions.filesystem grants {}, which lies in {}: {what}",
                        path.display(),
                        place.display()
                    );
                    return Err(PluginError::denied(message).with_help("grant a directory that lies elsewhere"));
                }
                if place.starts_with(path) && !can_cover && place.exists() {
                    let message = format!(
                        "permissions.filesystem grants {}, and {} ({what}) lies in it: without a mount namespace, which \
                         this machine does not give, the worker cannot be kept from that",
                        path.display(),
                        place.display()
                    );
                    return Err(PluginError::denied(message)
                        .with_help("grant the directories in it that the plugin needs, each by itself"));
                }
            }
        }
        Ok(())
    }

    /// Whether this path lies in one of the places.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.everything().any(|(place, _)| path.starts_with(place))
    }

    /// The places that exist.
    pub(super) fn all(&self) -> impl Iterator<Item = PathBuf> {
        self.everything().map(|(place, _)| place).filter(|place| place.is_dir())
    }

    fn everything(&self) -> impl Iterator<Item = (PathBuf, &'static str)> {
        let exchanges =
            self.exchange.neighbours().into_iter().map(|path| (path, "the exchange, where plugins' data passes"));
        exchanges.chain(self.places.iter().cloned())
    }
}

/// Whether a granted directory may bring sockets of services with it, whose names a worker could then connect to.
pub(super) fn brings_sockets(granted: &[PathBuf]) -> bool {
    let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = directories::BaseDirs::new().map(|home| home.home_dir().to_owned());
    let places: Vec<PathBuf> = SOCKETS.iter().map(PathBuf::from).chain(run.clone()).chain(home).collect();
    let beneath = [Some(PathBuf::from("/run")), run];
    granted.iter().any(|path| {
        places.iter().any(|place| place.starts_with(path))
            || beneath.iter().flatten().any(|place| path.starts_with(place))
    })
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;

    use super::*;

    #[test]
    fn grants_at_or_beneath_are_refused_and_those_above_where_they_cannot_be_covered() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let exchange = Exchange::builder().root(&root).open().unwrap();
        let data = root.join("data");
        std::fs::create_dir(&data).unwrap();
        let places = WorkerPlaces { data: Some(data.clone()), ..WorkerPlaces::default() };
        let protected = Protected::of(&exchange, &places);
        let session = exchange.directories().remove(0);
        for refused in [&data, &data.join("other"), &session, &session.join("blobs"), Path::new("/proc/self")] {
            let error = protected.check(&[refused.to_owned()], true).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Denied);
            assert!(error.message().contains(refused.to_str().unwrap()), "{error}");
            assert!(protected.holds(refused));
        }
        protected.check(&[root.clone(), "/".into()], true).unwrap();
        protected.check(std::slice::from_ref(&root), false).unwrap_err();
        std::fs::create_dir(root.join("models")).unwrap();
        protected.check(&[root.join("models")], false).unwrap();
        let all: Vec<_> = protected.all().collect();
        assert!(all.contains(&data) && all.contains(&session));
    }

    #[test]
    fn a_directory_of_ones_own_brings_no_sockets_and_a_home_may() {
        let brings = |path: &str| brings_sockets(&[path.into()]);
        assert!(brings("/") && brings("/run/user/1000") && brings("/tmp") && brings("/var"));
        assert!(!brings("/srv/models") && !brings("/tmp/models"));
        assert!(!brings_sockets(&[]));
    }
}
