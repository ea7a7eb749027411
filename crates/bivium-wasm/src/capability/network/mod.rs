//! Network access, as far as `permissions.network` grants it.
//!
//! WASI's HTTP client, its sockets and its name lookup are always linked. Each request, connection and lookup is checked against the
//! plugin's rules: `grant` decides, and `http`, `send`, `sockets` and `lookup` ask it. An allowed name is looked up once, its
//! addresses are checked, and the connection goes to one of these addresses, so that a second answer of a name server cannot redirect
//! it. The connections that a guest holds are counted in its table of resources, so that dropping one frees its place at once.
//!
//! Proxy variables in the host's environment are not used.

mod body;
mod connections;
mod grant;
mod headers;
mod http;
mod lookup;
mod resolver;
mod secrets;
mod send;
mod sockets;
mod target;
mod tls;

use std::sync::Arc;

use bivium_interface::PluginError;
use bivium_interface::policy::Scheme;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpCtxView;

pub(crate) use grant::NetworkGrant;
pub(crate) use lookup::{Lookup, NoAddress};
pub(crate) use resolver::NetworkConfig;
pub use resolver::{Resolver, SystemResolver};

use crate::store::{AccessRecorder, StoreState};
use http::Http;
use sockets::Sockets;

/// The network access of one instance. Its parts are made at their first use.
pub(crate) struct Network {
    grant: Arc<NetworkGrant>,
    access: Arc<AccessRecorder>,
    response_bytes: u64,
    http: Option<Box<Http>>,
    sockets: Option<Arc<Sockets>>,
}

impl Network {
    pub(crate) fn new(grant: Arc<NetworkGrant>, store: &StoreState) -> Self {
        let (access, response_bytes) = (Arc::clone(&store.access), store.limits.response_bytes);
        Self { grant, access, response_bytes, http: None, sockets: None }
    }

    pub(crate) fn http<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        let Self { grant, access, response_bytes, http, .. } = self;
        let http = http.get_or_insert_with(|| Box::new(Http::new(grant, access, *response_bytes)));
        WasiHttpCtxView { ctx: &mut http.ctx, hooks: &mut http.hooks, table }
    }

    fn sockets(&mut self) -> &Arc<Sockets> {
        let Self { grant, access, sockets, .. } = self;
        sockets.get_or_insert_with(|| Arc::new(Sockets::new(grant, access)))
    }

    /// Whether sockets of this scheme may be made.
    pub(crate) fn speaks(&mut self, scheme: Scheme) -> bool {
        self.sockets().admit(scheme)
    }

    pub(crate) fn look_up(&mut self, name: &str) -> Result<Lookup, NoAddress> {
        Lookup::start(self.sockets(), name)
    }

    /// Whether one more connection is allowed by `limits.connections`.
    pub(crate) fn has_room(&self, store: &mut StoreState) -> bool {
        let most = store.limits.connections;
        let has_room = connections::open(&mut store.table) < most;
        if !has_room {
            let error =
                PluginError::resource_exhausted(format!("the plugin has {most} connections open, which is its limit"));
            self.access.refuse(error.with_help("raise `limits.connections` in its manifest"));
        }
        has_room
    }

    /// Makes the sockets of a context ask [`Sockets::check`].
    pub(crate) fn watch(&mut self, builder: &mut WasiCtxBuilder) {
        let sockets = Arc::clone(self.sockets());
        builder
            .socket_addr_check(move |address, wish| {
                let allowed = sockets.check(address, wish);
                Box::pin(std::future::ready(allowed))
            })
            // The host's own `create-tcp-socket`, `create-udp-socket` and lookup decide.
            .allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(false);
    }
}
