//! What guests import, and the count of what they hold open.

use std::any::Any;
use std::net::IpAddr;

use bivium_interface::PluginError;
use bivium_interface::policy::Scheme;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{RequestOptions, WasiHttp, WasiHttpView};

use super::lookup::Lookup;
use crate::state::HostState;

const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
const TCP: &str = "wasi:sockets/tcp-create-socket@0.2.12";
const UDP: &str = "wasi:sockets/udp-create-socket@0.2.12";
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

type Store<'a> = StoreContextMut<'a, HostState>;

/// Links HTTP, and takes the place of what makes sockets and looks up names in WASI as linked before.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    types::add_to_linker::<HostState, WasiHttp>(linker, &(&LinkOptions::default()).into(), HostState::http)?;
    linker.instance(HANDLER)?.func_wrap("handle", handle)?;
    linker.allow_shadowing(true);
    linker.instance(TCP)?.func_wrap("create-tcp-socket", create_tcp_socket)?;
    linker
        .instance(UDP)?
        .func_wrap_async("create-udp-socket", |store, family| Box::new(create_udp_socket(store, family)))?;
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.resource("resolve-address-stream", ResourceType::host::<Lookup>(), |mut store, rep| {
        store.data_mut().store.table.delete(Resource::<Lookup>::new_own(rep))?;
        Ok(())
    })?;
    lookup.func_wrap("resolve-addresses", resolve_addresses)?;
    lookup.func_wrap("[method]resolve-address-stream.resolve-next-address", resolve_next_address)?;
    lookup.func_wrap("[method]resolve-address-stream.subscribe", subscribe)?;
    linker.allow_shadowing(false);
    Ok(())
}

type Options = Option<Resource<RequestOptions>>;
type Response = Result<Resource<HostFutureIncomingResponse>, types::ErrorCode>;

fn handle(
    mut store: Store<'_>,
    (request, options): (Resource<HostOutgoingRequest>, Options),
) -> wasmtime::Result<(Response,)> {
    let state = store.data_mut();
    if !state.has_room_for_a_connection() {
        state.store.table.delete(request)?;
        return Ok((Err(types::ErrorCode::ConnectionLimitReached),));
    }
    match state.http().handle(request, options) {
        Ok(response) => Ok((Ok(response),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

fn create_tcp_socket(
    mut store: Store<'_>,
    (family,): (IpAddressFamily,),
) -> wasmtime::Result<(Result<Resource<TcpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if let Err(error) = state.admit_socket(Scheme::Tcp) {
        return Ok((Err(error),));
    }
    match tcp_create_socket::Host::create_tcp_socket(&mut state.sockets(), family) {
        Ok(socket) => Ok((Ok(socket),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

async fn create_udp_socket(
    mut store: Store<'_>,
    (family,): (IpAddressFamily,),
) -> wasmtime::Result<(Result<Resource<UdpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if let Err(error) = state.admit_socket(Scheme::Udp) {
        return Ok((Err(error),));
    }
    match udp_create_socket::Host::create_udp_socket(&mut state.sockets(), family).await {
        Ok(socket) => Ok((Ok(socket),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

fn resolve_addresses(
    mut store: Store<'_>,
    (network, name): (Resource<Network>, String),
) -> wasmtime::Result<(Result<Resource<Lookup>, ErrorCode>,)> {
    let state = store.data_mut();
    state.store.table.get(&network)?;
    if !state.has_room_for_a_connection() {
        return Ok((Err(ErrorCode::NewSocketLimit),));
    }
    match state.network.look_up(&name) {
        Ok(lookup) => Ok((Ok(state.store.table.push(lookup)?),)),
        Err(error) => Ok((Err(error),)),
    }
}

fn resolve_next_address(
    mut store: Store<'_>,
    (lookup,): (Resource<Lookup>,),
) -> wasmtime::Result<(Result<Option<IpAddress>, ErrorCode>,)> {
    let next = store.data_mut().store.table.get_mut(&lookup)?.next();
    Ok((next.map(|address: Option<IpAddr>| address.map(Into::into)),))
}

fn subscribe(mut store: Store<'_>, (lookup,): (Resource<Lookup>,)) -> wasmtime::Result<(Resource<DynPollable>,)> {
    Ok((wasmtime_wasi::p2::subscribe(&mut store.data_mut().store.table, lookup)?,))
}

impl HostState {
    /// Whether one connection more fits under `limits.connections`.
    fn has_room_for_a_connection(&mut self) -> bool {
        let most = self.store.limits.connections;
        let has_room = open(&mut self.store.table) < most;
        if !has_room {
            let error = PluginError::resource_exhausted(format!("the plugin holds {most} connections open, its limit"));
            self.store.witness.refuse(error.with_help("raise `limits.connections` in its manifest"));
        }
        has_room
    }

    fn admit_socket(&mut self, scheme: Scheme) -> Result<(), ErrorCode> {
        if !self.network.sockets().admit(scheme) {
            return Err(ErrorCode::AccessDenied);
        }
        if self.has_room_for_a_connection() { Ok(()) } else { Err(ErrorCode::NewSocketLimit) }
    }
}

/// The connections behind what the guest holds: sockets, requests under way, responses not read to their end.
fn open(table: &mut ResourceTable) -> usize {
    table.iter_mut().filter(|entry| is_connection(*entry)).count()
}

fn is_connection(entry: &(dyn Any + Send)) -> bool {
    if let Some(request) = entry.downcast_ref::<HostFutureIncomingResponse>() {
        return !matches!(request, HostFutureIncomingResponse::Consumed);
    }
    if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
        return response.body.is_some();
    }
    if let Some(trailers) = entry.downcast_ref::<HostFutureTrailers>() {
        return matches!(trailers, HostFutureTrailers::Waiting(_));
    }
    if let Some(lookup) = entry.downcast_ref::<Lookup>() {
        return matches!(lookup, Lookup::Pending(_));
    }
    entry.is::<HostIncomingBody>() || entry.is::<TcpSocket>() || entry.is::<UdpSocket>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_the_place_of_is_there() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::<HostState>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        for (interface, function) in [
            (TCP, "create-tcp-socket"),
            (UDP, "create-udp-socket"),
            (LOOKUP, "resolve-addresses"),
            (LOOKUP, "[method]resolve-address-stream.resolve-next-address"),
            (LOOKUP, "[method]resolve-address-stream.subscribe"),
            (HANDLER, "handle"),
        ] {
            let defined = linker.instance(interface).unwrap().func_wrap(function, |_, (): ()| Ok(()));
            assert!(defined.is_err(), "{interface} {function}: WASI has another version now");
        }
    }
}
