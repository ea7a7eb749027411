//! [`Sockets`]: WASI's sockets, each address held against the rules before anything is sent there.
//!
//! A socket knows only addresses. Those that a lookup gave for an allowed name are remembered for the life of the
//! instance, and may be connected to on the ports that the name's rules allow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::policy::Scheme;
use wasmtime_wasi::sockets::SocketAddrUse;

use super::grant::{NetworkGrant, PERMISSION};
use super::target::Target;
use crate::store::Witness;

/// The sockets of one instance.
pub(super) struct Sockets {
    pub(super) grant: Arc<NetworkGrant>,
    pub(super) witness: Arc<Witness>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The names that led to an address.
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Peers to which the guest sends datagrams, each told once.
    peers: BTreeSet<SocketAddr>,
}

impl Known {
    /// Entries of each kind; when there are more, it begins anew.
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
    fn meet(&mut self, peer: SocketAddr) -> bool {
        if self.peers.len() >= Self::MOST {
            self.peers.clear();
        }
        self.peers.insert(peer)
    }
}

impl Sockets {
    pub(super) fn new(grant: &Arc<NetworkGrant>, witness: &Arc<Witness>) -> Self {
        Self { grant: Arc::clone(grant), witness: Arc::clone(witness), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a lookup of an allowed name gave.
    pub(super) fn remember(&self, name: &str, addresses: &[IpAddr]) {
        self.known().remember(name, addresses);
    }

    /// Whether sockets of this scheme may be made.
    pub(super) fn admit(&self, scheme: Scheme) -> bool {
        let speaks = self.grant.speaks(scheme);
        if !speaks {
            let resource = format!("{}://*", scheme.as_str());
            self.witness.denied(PERMISSION, &resource, "its manifest names no such connection");
        }
        speaks
    }

    /// Whether a socket may do this with that address.
    pub(super) fn check(&self, address: SocketAddr, wish: SocketAddrUse) -> bool {
        match wish {
            SocketAddrUse::TcpConnect => self.connect(Scheme::Tcp, address, true),
            SocketAddrUse::UdpSend => {
                let new = self.known().meet(address);
                self.connect(Scheme::Udp, address, new)
            }
            // What comes unasked is dropped, and nobody's doing.
            SocketAddrUse::UdpReceive => self.allowing(Scheme::Udp, address).is_ok(),
            // Before it connects or sends, a socket is bound to any address and a port of the system's choice.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if address.ip().is_unspecified() && address.port() == 0 => {
                true
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                self.refuse(address, "a plugin cannot choose its own address")
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => self.refuse(address, "a plugin cannot listen"),
        }
    }

    fn refuse(&self, address: SocketAddr, why: &str) -> bool {
        self.witness.denied(PERMISSION, &format!("the local address {address}"), why);
        false
    }

    fn connect(&self, scheme: Scheme, address: SocketAddr, told: bool) -> bool {
        match self.allowing(scheme, address) {
            Ok(target) => !told || self.witness.granted(PERMISSION, target.to_string()),
            Err((target, why)) => {
                self.witness.denied(PERMISSION, &target.to_string(), &why);
                false
            }
        }
    }

    /// The target by whose address or name the rules allow it; else the address, and why not.
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
