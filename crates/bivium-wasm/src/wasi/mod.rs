//! WASI 0.2, linked empty-handed: a permission fills a hand.
//!
//! A plugin needs no WASI, but the standard libraries of most languages import it. Without permissions they find it here
//! with nothing in its hands: no directory, no environment, no arguments, no input, no network, a clock that only the
//! guest's own sleep moves, and numbers that are the same in every run. What they print becomes log records.
//!
//! [`Rights`] is what a component is granted, opened once for all its instances. The interfaces that give something away
//! are the host's own here ([`descriptor`], [`environment`], [`clocks`], [`random`]), as is the one that would tell of the
//! host ([`error`]); they stand before those of `wasmtime-wasi`, to which they hand on what is allowed. The network is
//! [`network`](crate::network).

mod blob_files;
mod clocks;
mod descriptor;
mod environment;
mod error;
mod files;
mod guarded;
mod kernel;
mod links;
mod metered;
mod output;
mod random;
mod rights;

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

pub(crate) use clocks::Clock;
pub(crate) use files::Files;
pub(crate) use random::Random;
pub(crate) use rights::Rights;

use crate::command::{Command, Stdin, Stdout};
use crate::network::Network;
use crate::state::HostState;
use crate::store::{GuestLog, Printed, StoreState};
use output::LineStream;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    descriptor::add_to_linker(linker)?;
    environment::add_to_linker(linker)?;
    error::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Made at the first use: most components never ask, and it would double what a fresh instance costs.
        let Self { store: StoreState { log, table, .. }, network, wasi, command, .. } = self;
        WasiCtxView { ctx: wasi.get_or_insert_with(|| Box::new(empty_handed(log, network, command.as_ref()))), table }
    }
}

fn empty_handed(log: &Arc<GuestLog>, network: &mut Network, command: Option<&Arc<Command>>) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(LineStream::new(log, Printed::Stdout))
        .stderr(LineStream::new(log, Printed::Stderr))
        .max_random_size(random::MAX_BYTES);
    if let Some(command) = command {
        builder.stdin(Stdin(Arc::clone(command))).stdout(Stdout(Arc::clone(command)));
    }
    network.watch(&mut builder);
    builder.build()
}
