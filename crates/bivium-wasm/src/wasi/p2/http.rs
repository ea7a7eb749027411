//! `wasi:http`: the interfaces of `wasmtime-wasi-http`, with a client that checks each request against the rules.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{RequestOptions, WasiHttp, WasiHttpCtxView, WasiHttpView};

use crate::state::HostState;

pub(super) const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    types::add_to_linker::<HostState, WasiHttp>(linker, &(&LinkOptions::default()).into(), HostState::http)?;
    linker.instance(HANDLER)?.func_wrap("handle", handle)?;
    Ok(())
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.network.http(&mut self.store.table)
    }
}

type HandleOptions = Option<Resource<RequestOptions>>;
type HandleResult = Result<Resource<HostFutureIncomingResponse>, types::ErrorCode>;

fn handle(
    mut store: StoreContextMut<'_, HostState>,
    (request, options): (Resource<HostOutgoingRequest>, HandleOptions),
) -> wasmtime::Result<(HandleResult,)> {
    let state = store.data_mut();
    if !state.network.has_room(&mut state.store) {
        state.store.table.delete(request)?;
        return Ok((Err(types::ErrorCode::ConnectionLimitReached),));
    }
    match state.http().handle(request, options) {
        Ok(response) => Ok((Ok(response),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
