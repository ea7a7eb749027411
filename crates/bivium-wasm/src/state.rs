//! [`HostState`]: the host's data of one guest, in its store.

use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{CallHandle, ErrorCode, PluginError};
use wasmtime_wasi::WasiCtx;

use crate::capability::Grants;
use crate::capability::blobs::Blobs;
use crate::capability::cli::Cli;
use crate::capability::clocks::Clocks;
use crate::capability::files::{Files, FilesView};
use crate::capability::network::Network;
use crate::capability::random::Random;
use crate::store::StoreState;

/// The data of one store.
pub(crate) struct HostState {
    pub(crate) store: StoreState,
    pub(crate) blobs: Blobs,
    pub(crate) files: Files,
    pub(crate) clocks: Clocks,
    pub(crate) random: Random,
    pub(crate) cli: Cli,
    pub(crate) network: Network,
    grants: Arc<Grants>,
    /// `None` until the guest first uses WASI.
    pub(crate) wasi: Option<Box<WasiCtx>>,
}

impl HostState {
    pub(crate) fn new(store: StoreState, exchange: &Exchange, grants: Arc<Grants>) -> Self {
        Self {
            blobs: Blobs::new(exchange.clone()),
            files: Files::new(Arc::clone(&grants.files), exchange.clone()),
            clocks: Clocks::new(grants.clocks),
            random: Random::new(grants.random),
            cli: Cli::new(Arc::clone(&grants.cli)),
            network: Network::new(Arc::clone(&grants.network), &store),
            store,
            grants,
            wasi: None,
        }
    }

    pub(crate) fn files(&mut self) -> FilesView<'_> {
        FilesView { files: &mut self.files, store: &mut self.store }
    }

    /// From now on the guest works for this call, or for the host itself.
    pub(crate) fn begin(&mut self, call: Option<&CallHandle>) {
        self.store.begin(call);
        self.blobs.end_loans();
    }

    /// Ends the call, and with it the handles that were lent.
    pub(crate) fn end_call(&mut self) {
        self.store.forget_call();
        self.blobs.end_loans();
        self.files().hide_blobs();
        self.store.log.end_call();
    }

    /// Adds to the error of a call what only the host knows about its cause: what it refused to the guest, or what the guest lacks because
    /// it was not granted.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        let error = self.store.access.explain(error);
        if error.help().is_some() || !matches!(error.code(), ErrorCode::PluginFailed | ErrorCode::Crashed) {
            return error;
        }
        match self.grants.missed(&self.store.access, &error) {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}
