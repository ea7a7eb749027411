//! WASI 0.2, linked empty-handed: a permission fills a hand.
//!
//! A plugin needs no WASI, but the standard libraries of most languages import it. Without permissions they find it here
//! with nothing in its hands: no directory, no environment, no arguments, no input, no network, a clock that only the
//! guest's own sleep moves, and numbers that are the same in every run. What they print becomes log records.
//!
//! [`Rights`] is what a component is granted, opened once for all its instances. The interfaces that give something away
//! are the host's own here ([`descriptor`], [`environment`], [`clocks`], [`random`]), as is the one that would tell of the
//! host ([`error`]); they stand before those of `wasmtime-wasi`, to which they hand on what is allowed. The network is
//! [`network`](crate::capability::network).

mod blob_files;
mod descriptor;
mod files;
mod guarded;
mod kernel;
mod links;
mod metered;
mod p2;
mod rights;

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

pub(crate) use files::Files;
pub(crate) use rights::Rights;

use crate::capability::cli::Cli;
use crate::capability::network::Network;
use crate::state::HostState;
use crate::store::StoreState;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    p2::add_to_linker(linker)?;
    linker.allow_shadowing(true);
    descriptor::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Made at the first use: most components never ask, and it would double what a fresh instance costs.
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
