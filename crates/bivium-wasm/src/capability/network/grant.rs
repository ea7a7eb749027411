//! [`NetworkGrant`]: the network rules of one plugin, which its instances share.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bivium_instances::PluginContext;
use bivium_interface::policy::{NetworkRule, Scheme, is_private};
use bivium_interface::{PluginError, Result};
use tokio::sync::Semaphore;

use super::resolver::NetworkConfig;
use super::secrets::Secret;
use super::target::Target;
use super::tls::Tls;

/// The manifest's key of the permission.
pub(super) const PERMISSION: &str = "permissions.network";

/// What one plugin may do on the network.
pub(crate) struct NetworkGrant {
    rules: Vec<NetworkRule>,
    /// Whether names may resolve to private addresses.
    private: bool,
    /// Rules that the manifest asks for and the host's policy does not grant.
    withheld: Vec<NetworkRule>,
    pub(super) secrets: Vec<Secret>,
    pub(super) tls: Tls,
    config: NetworkConfig,
    lookups: Arc<Semaphore>,
}

impl NetworkGrant {
    /// The most lookups of one plugin at a time. A lookup cannot be interrupted, and each uses a thread.
    const LOOKUPS: usize = 8;
    /// The most addresses of a name that are used.
    const ADDRESSES: usize = 32;

    /// # Errors
    /// `invalid-config` if the host has no value for a secret that the plugin is granted.
    pub(crate) fn new(context: &PluginContext, config: &NetworkConfig) -> Result<Self> {
        let granted = &context.granted;
        let withheld = granted.refused.iter().filter(|refusal| refusal.key == PERMISSION);
        let secrets = granted.permissions.secrets.iter().map(|secret| Secret::new(secret, &context.secrets));
        Ok(Self {
            rules: granted.network(),
            private: granted.permissions.private_network,
            withheld: withheld.filter_map(|refusal| refusal.wanted.parse().ok()).collect(),
            secrets: secrets.collect::<Result<_, PluginError>>()?,
            tls: Tls::new(&config.roots),
            config: config.clone(),
            lookups: Arc::new(Semaphore::new(Self::LOOKUPS)),
        })
    }

    /// Whether any rule has this scheme.
    pub(super) fn speaks(&self, scheme: Scheme) -> bool {
        self.rules.iter().any(|rule| rule.scheme == scheme)
    }

    fn allowing<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a NetworkRule> {
        self.rules.iter().filter(|rule| rule.allows(target.scheme, &target.host, target.port))
    }

    /// Whether a rule allows the connection; the error says why not.
    pub(super) fn admit(&self, target: &Target) -> Result<(), &'static str> {
        if self.allowing(target).next().is_some() {
            return Ok(());
        }
        let withheld = self.withheld.iter().any(|rule| rule.allows(target.scheme, &target.host, target.port));
        Err(if withheld { "the host's policy does not grant it" } else { "its manifest does not list this address" })
    }

    /// Whether the plugin may connect to this address, if the rules allow the name that resolved to it; the error says why not.
    pub(super) fn admit_address(&self, target: &Target, address: IpAddr) -> Result<(), String> {
        if !is_private(address) || self.private || self.names(target, address) {
            return Ok(());
        }
        Err(self.private_address(address))
    }

    fn private_address(&self, address: IpAddr) -> String {
        format!(
            "{address} is a private, loopback or link-local address (name the address itself in `{PERMISSION}`, or grant \
             `permissions.private_network`)"
        )
    }

    /// Whether a rule that allows the connection names this address itself.
    pub(super) fn names(&self, target: &Target, address: IpAddr) -> bool {
        self.allowing(target).any(|rule| rule.names_address(address))
    }

    /// Whether sockets may look this name up: one of their rules must match it, for any port.
    pub(super) fn admit_lookup(&self, name: &str) -> bool {
        self.of_sockets(name).next().is_some()
    }

    /// The same as [`admit_address`](Self::admit_address) for a lookup, whose port is not known yet.
    pub(super) fn admit_looked_up(&self, name: &str, address: IpAddr) -> Result<(), String> {
        if !is_private(address) || self.private || self.of_sockets(name).any(|rule| rule.names_address(address)) {
            return Ok(());
        }
        Err(self.private_address(address))
    }

    fn of_sockets<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NetworkRule> {
        let sockets = |rule: &&NetworkRule| matches!(rule.scheme, Scheme::Tcp | Scheme::Udp);
        self.rules.iter().filter(sockets).filter(|rule| rule.host.matches(name))
    }

    /// The addresses of the host. A host that is an address is its own.
    pub(super) async fn addresses(&self, target: &Target) -> io::Result<Vec<IpAddr>> {
        match target.address() {
            Some(address) => Ok(vec![address]),
            None => self.look_up(target.host.clone()).await,
        }
    }

    /// Asks the resolver. A lookup that nobody waits for any more still counts until it ends.
    pub(super) async fn look_up(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let resolver = Arc::clone(&self.config.resolver);
        let found = tokio::task::spawn_blocking(move || {
            let _place = place;
            resolver.resolve(&name)
        });
        let mut found = found.await.map_err(io::Error::other)??;
        found.truncate(Self::ADDRESSES);
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found.into_iter().map(|address| address.to_canonical()).collect())
    }
}
