//! [`Resolver`]: where the addresses of names come from. [`Outside`] is that and the authorities whose certificates count.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::tls::Roots;

/// Turns names of hosts into addresses. What it gives is checked before anything connects.
pub trait Resolver: Send + Sync {
    /// The addresses of a name, best first. Called on a thread that may block.
    ///
    /// # Errors
    /// If there is no such name, or no answer.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// What a host takes from the world outside for all its plugins. Clones share it.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) roots: Arc<Roots>,
}

impl Default for Outside {
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver), roots: Arc::default() }
    }
}

impl Outside {
    pub(crate) fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    pub(crate) fn with_certificates(self, file: PathBuf) -> Self {
        Self { roots: Arc::new(Roots::of_file(file)), ..self }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("roots", &self.roots).finish_non_exhaustive()
    }
}
