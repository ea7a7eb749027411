//! `wasi:sockets`: the interfaces of `wasmtime-wasi`, except the functions that make sockets and look up names.

use bivium_interface::policy::Scheme;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;

use crate::capability::network::{Lookup, NoAddress};
use crate::state::HostState;

pub(super) const TCP: &str = "wasi:sockets/tcp-create-socket@0.2.12";
pub(super) const UDP: &str = "wasi:sockets/udp-create-socket@0.2.12";
pub(super) const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

type StoreCtx<'a> = StoreContextMut<'a, HostState>;

/// Replaces the functions that make sockets and look up names.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
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
    Ok(())
}

fn create_tcp_socket(
    mut store: StoreCtx<'_>,
    (family,): (IpAddressFamily,),
) -> wasmtime::Result<(Result<Resource<TcpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if let Err(error) = admit(state, Scheme::Tcp) {
        return Ok((Err(error),));
    }
    match tcp_create_socket::Host::create_tcp_socket(&mut state.sockets(), family) {
        Ok(socket) => Ok((Ok(socket),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

async fn create_udp_socket(
    mut store: StoreCtx<'_>,
    (family,): (IpAddressFamily,),
) -> wasmtime::Result<(Result<Resource<UdpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if let Err(error) = admit(state, Scheme::Udp) {
        return Ok((Err(error),));
    }
    match udp_create_socket::Host::create_udp_socket(&mut state.sockets(), family).await {
        Ok(socket) => Ok((Ok(socket),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

fn resolve_addresses(
    mut store: StoreCtx<'_>,
    (network, name): (Resource<Network>, String),
) -> wasmtime::Result<(Result<Resource<Lookup>, ErrorCode>,)> {
    let state = store.data_mut();
    state.store.table.get(&network)?;
    if !state.network.has_room(&mut state.store) {
        return Ok((Err(ErrorCode::NewSocketLimit),));
    }
    match state.network.look_up(&name) {
        Ok(lookup) => Ok((Ok(state.store.table.push(lookup)?),)),
        Err(error) => Ok((Err(code(error)),)),
    }
}

fn resolve_next_address(
    mut store: StoreCtx<'_>,
    (lookup,): (Resource<Lookup>,),
) -> wasmtime::Result<(Result<Option<IpAddress>, ErrorCode>,)> {
    let next = store.data_mut().store.table.get_mut(&lookup)?.next();
    Ok((next.map(|address| address.map(Into::into)).map_err(code),))
}

fn subscribe(mut store: StoreCtx<'_>, (lookup,): (Resource<Lookup>,)) -> wasmtime::Result<(Resource<DynPollable>,)> {
    Ok((wasmtime_wasi::p2::subscribe(&mut store.data_mut().store.table, lookup)?,))
}

/// Checks whether a socket of this scheme may be made; the error is the guest's.
fn admit(state: &mut HostState, scheme: Scheme) -> Result<(), ErrorCode> {
    if !state.network.speaks(scheme) {
        return Err(ErrorCode::AccessDenied);
    }
    if state.network.has_room(&mut state.store) { Ok(()) } else { Err(ErrorCode::NewSocketLimit) }
}

fn code(error: NoAddress) -> ErrorCode {
    match error {
        NoAddress::NotAName => ErrorCode::InvalidArgument,
        NoAddress::Denied => ErrorCode::AccessDenied,
        NoAddress::NotFound => ErrorCode::NameUnresolvable,
        NoAddress::NotYet => ErrorCode::WouldBlock,
    }
}
