//! The network, as far as `permissions.network` reaches.
//!
//! Guests find WASI's HTTP client, its sockets and its name lookup always linked; each request, connection and lookup is
//! held against the plugin's rules. A name that is allowed is looked up once, the addresses that come back are checked,
//! and the connection goes to one of these very addresses: no second answer of a name server can bend it. What a guest
//! holds open is counted in its table of resources, so that dropping it there frees its place at once.
//!
//! No proxy variables of the host's environment are used.

mod body;
mod grant;
mod http;
mod link;
mod lookup;
mod resolver;
mod secrets;
mod send;
mod sockets;
mod tls;

use std::sync::Arc;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

pub(crate) use grant::NetworkGrant;
pub(crate) use link::add_to_linker;
pub(crate) use resolver::Outside;
pub use resolver::{Resolver, SystemResolver};

use crate::state::HostState;
use crate::store::Witness;
use http::Http;
use lookup::Lookup;
use sockets::Sockets;

/// The manifest's key that all of this hangs on.
const PERMISSION: &str = "permissions.network";

/// One instance's side of the network. What it needs is made at its first use.
pub(crate) struct Network {
    grant: Arc<NetworkGrant>,
    witness: Arc<Witness>,
    response_bytes: u64,
    http: Option<Box<Http>>,
    sockets: Option<Arc<Sockets>>,
}

impl Network {
    pub(crate) fn new(grant: Arc<NetworkGrant>, witness: Arc<Witness>, response_bytes: u64) -> Self {
        Self { grant, witness, response_bytes, http: None, sockets: None }
    }

    fn http(&mut self) -> &mut Http {
        let Self { grant, witness, response_bytes, http, .. } = self;
        http.get_or_insert_with(|| Box::new(Http::new(grant, witness, *response_bytes)))
    }

    fn sockets(&mut self) -> &Arc<Sockets> {
        let Self { grant, witness, sockets, .. } = self;
        sockets.get_or_insert_with(|| Arc::new(Sockets::new(grant, witness)))
    }

    fn look_up(&mut self, name: &str) -> Result<Lookup, ErrorCode> {
        Lookup::start(self.sockets(), name)
    }

    /// Has the sockets of a context ask us.
    pub(crate) fn watch(&mut self, builder: &mut WasiCtxBuilder) {
        let sockets = Arc::clone(self.sockets());
        builder
            .socket_addr_check(move |address, wish| {
                let allowed = sockets.check(address, wish);
                Box::pin(std::future::ready(allowed))
            })
            // `create-tcp-socket` and `create-udp-socket` are ours and decide; so is the lookup.
            .allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(false);
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let http = self.network.http();
        WasiHttpCtxView { ctx: &mut http.ctx, hooks: &mut http.hooks, table: &mut self.store.table }
    }
}
