//! [`Resolver`]: looks up the addresses of names. [`NetworkConfig`]: the resolver and the certificate authorities.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::tls::Roots;

/// Resolves host names to addresses. The addresses are checked before anything connects.
pub trait Resolver: Send + Sync {
    /// The addresses of a name, best first. Called on a blocking thread.
    ///
    /// # Errors
    /// If the name does not exist, or there is no answer.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Uses the machine's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// The host's network settings, for all its plugins. Clones share them.
#[derive(Clone)]
pub(crate) struct NetworkConfig {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) roots: Arc<Roots>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver), roots: Arc::default() }
    }
}

impl NetworkConfig {
    pub(crate) fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    pub(crate) fn with_certificates(self, file: PathBuf) -> Self {
        Self { roots: Arc::new(Roots::of_file(file)), ..self }
    }
}

impl fmt::Debug for NetworkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkConfig").field("roots", &self.roots).finish_non_exhaustive()
    }
}
