//! WASI, which is linked but grants nothing until a permission does.
//!
//! A plugin needs no WASI, but the standard libraries of most languages import it. Without permissions they find no directory, no
//! environment, no arguments, no input and no network, a clock that only the guest's own sleep moves, and random numbers that are the same
//! in every run. Output becomes log records.
//!
//! Each version of WASI is a module that implements its interfaces with the capabilities.

mod p2;

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::capability::cli::Cli;
use crate::capability::network::Network;
use crate::state::HostState;
use crate::store::StoreState;

/// Links every version.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    p2::add_to_linker(linker)
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Made at the first use: most components never need it, and it would double the cost of a new instance.
        let Self { store, network, wasi, cli, .. } = self;
        let ctx = wasi.get_or_insert_with(|| Box::new(context(store, network, cli)));
        WasiCtxView { ctx, table: &mut store.table }
    }
}

fn context(store: &StoreState, network: &mut Network, cli: &Cli) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    cli.connect(store, &mut builder);
    network.watch(&mut builder);
    builder.build()
}
