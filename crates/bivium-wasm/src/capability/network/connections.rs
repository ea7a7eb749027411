//! Counts the connections that a guest holds open, in its table of resources.

use std::any::Any;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{TcpSocket, UdpSocket};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse};

use super::lookup::Lookup;

/// How many connections the guest holds: sockets, requests under way, responses that are not read to their end.
pub(super) fn open(table: &mut ResourceTable) -> usize {
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
