//! [`Sockets`]: WASI's sockets. Each address is checked against the rules before anything is sent to it.
//!
//! A socket only knows addresses. Those that a lookup returned for an allowed name are remembered for the life of the instance, and the
//! guest may connect to them on the ports that the name's rules allow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::policy::Scheme;
use wasmtime_wasi::sockets::SocketAddrUse;

use super::grant::{NetworkGrant, PERMISSION};
use super::target::Target;
use crate::store::AccessRecorder;

/// The sockets of one instance.
pub(super) struct Sockets {
    pub(super) grant: Arc<NetworkGrant>,
    pub(super) access: Arc<AccessRecorder>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The names that resolved to an address.
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Peers to which the guest sends datagrams; each is recorded once.
    peers: BTreeSet<SocketAddr>,
}

impl Known {
    /// The most entries of each kind; when there are more, the list is cleared.
    const MOST: usize = 1024;

    fn remember(&mut self, name: &str, addresses: &[IpAddr]) {
        if self.names.len() >= Self::MOST {
            self.names.clear();
        }
        for address in addresses {
            let names = self.names.entry(*address).or_default();
            if names.len() < Self::MOST {
                names.insert(name.to_owned());
            }
        }
    }

    /// Whether the peer is new.
    fn is_new_peer(&mut self, peer: SocketAddr) -> bool {
        if self.peers.len() >= Self::MOST {
            self.peers.clear();
        }
        self.peers.insert(peer)
    }
}

impl Sockets {
    pub(super) fn new(grant: &Arc<NetworkGrant>, access: &Arc<AccessRecorder>) -> Self {
        Self { grant: Arc::clone(grant), access: Arc::clone(access), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a lookup of an allowed name returned.
    pub(super) fn remember(&self, name: &str, addresses: &[IpAddr]) {
        self.known().remember(name, addresses);
    }

    /// Whether sockets of this scheme may be made.
    pub(super) fn admit(&self, scheme: Scheme) -> bool {
        let speaks = self.grant.speaks(scheme);
        if !speaks {
            let resource = format!("{}://*", scheme.as_str());
            self.access.denied(PERMISSION, &resource, "its manifest lists no address of this kind");
        }
        speaks
    }

    /// Whether a socket may use this address in this way.
    pub(super) fn check(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        match usage {
            SocketAddrUse::TcpConnect => self.connect(Scheme::Tcp, address, true),
            SocketAddrUse::UdpSend => {
                let new = self.known().is_new_peer(address);
                self.connect(Scheme::Udp, address, new)
            }
            // Unexpected datagrams are dropped without a record.
            SocketAddrUse::UdpReceive => self.allowing(Scheme::Udp, address).is_ok(),
            // Before it connects or sends, a socket is bound to the unspecified address and a port that the system chooses.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if address.ip().is_unspecified() && address.port() == 0 => {
                true
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                self.refuse(address, "a plugin cannot choose its local address")
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => self.refuse(address, "a plugin cannot listen"),
        }
    }

    fn refuse(&self, address: SocketAddr, why: &str) -> bool {
        self.access.denied(PERMISSION, &format!("the local address {address}"), why);
        false
    }

    fn connect(&self, scheme: Scheme, address: SocketAddr, recorded: bool) -> bool {
        match self.allowing(scheme, address) {
            Ok(target) => !recorded || self.access.granted(PERMISSION, target.to_string()),
            Err((target, why)) => {
                self.access.denied(PERMISSION, &target.to_string(), &why);
                false
            }
        }
    }

    /// The target whose address or name the rules allow; else the address, and why not.
    fn allowing(&self, scheme: Scheme, address: SocketAddr) -> Result<Target, (Target, String)> {
        let ip = address.ip().to_canonical();
        let target = |host: &str| Target::new(scheme, host, address.port());
        let literal = target(&ip.to_string());
        let why = match self.grant.admit(&literal).map_err(str::to_owned) {
            Ok(()) => match self.grant.admit_address(&literal, ip) {
                Ok(()) => return Ok(literal),
                Err(why) => why,
            },
            Err(why) => why,
        };
        let known = self.known();
        let mut targets = known.names.get(&ip).into_iter().flatten().map(|name| target(name));
        let admitted =
            |target: &Target| self.grant.admit(target).is_ok() && self.grant.admit_address(target, ip).is_ok();
        targets.find(admitted).ok_or((literal, why))
    }
}
