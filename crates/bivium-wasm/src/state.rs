//! [`HostState`]: what the host keeps beside one guest, in its store.

use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{Blob, CallHandle, ErrorCode, PluginError, Result};
use wasmtime::component::Resource;
use wasmtime_wasi::WasiCtx;

use crate::blobs::{BlobHandle, OpenBlob};
use crate::command::Command;
use crate::network::{Network, NetworkGrant};
use crate::store::StoreState;
use crate::wasi::{Clock, Files, Random, Rights};

/// The data of one store.
pub(crate) struct HostState {
    pub(crate) store: StoreState,
    pub(crate) exchange: Exchange,
    pub(crate) rights: Arc<Rights>,
    pub(crate) files: Files,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) network: Network,
    /// What a program has of its call; none in any other component.
    pub(crate) command: Option<Arc<Command>>,
    /// None until the guest first uses WASI.
    pub(crate) wasi: Option<Box<WasiCtx>>,
    /// Blobs lent for the running call: dropping them ends the guest's handles.
    lent: Vec<Arc<OpenBlob>>,
}

impl HostState {
    pub(crate) fn new(store: StoreState, exchange: Exchange, rights: Arc<Rights>, network: Arc<NetworkGrant>) -> Self {
        let network = Network::new(network, Arc::clone(&store.witness), store.limits.response_bytes);
        Self {
            store,
            exchange,
            rights,
            files: Files::default(),
            clock: Clock::default(),
            random: Random::default(),
            network,
            command: None,
            wasi: None,
            lent: Vec::new(),
        }
    }

    /// The guest works for this call from now on, or for the host itself.
    pub(crate) fn begin(&mut self, call: Option<&CallHandle>) {
        self.store.begin(call);
        self.lent.clear();
    }

    /// Ends the call, and with it the handles that were lent.
    pub(crate) fn end_call(&mut self) {
        self.store.forget_call();
        self.lent.clear();
        self.hide_blobs();
        self.store.log.end_call();
    }

    /// Refuses a call with more blobs than a guest may hold.
    pub(crate) fn admit(&self, blobs: &[Blob]) -> Result<()> {
        // As many clones of them must fit too.
        let most = self.store.limits.blobs / 2;
        if blobs.len() <= most {
            return Ok(());
        }
        Err(PluginError::resource_exhausted(format!("the call brings {} blobs, over the limit of {most}", blobs.len()))
            .with_help("raise `limits.blobs`, twice that number, in the plugin's manifest"))
    }

    /// Lends blobs to the guest for the running call.
    pub(crate) fn lend(&mut self, blobs: Vec<Blob>) -> wasmtime::Result<Vec<Resource<BlobHandle>>> {
        let mut handles = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let open = OpenBlob::new(blob);
            handles.push(self.store.table.push(BlobHandle::Lent(Arc::downgrade(&open)))?);
            if self.store.call().is_some() {
                self.lent.push(open);
            }
        }
        Ok(handles)
    }

    /// Takes back the handles that the guest returns. All are taken, also where one of them has ended.
    pub(crate) fn take(&mut self, handles: Vec<Resource<BlobHandle>>) -> wasmtime::Result<Result<Vec<Blob>>> {
        let mut taken = Vec::with_capacity(handles.len());
        for handle in handles {
            taken.push(self.store.table.delete(handle)?.blob());
        }
        let blobs: Result<Vec<Blob>> = taken.into_iter().collect();
        Ok(blobs.map_err(|_| PluginError::protocol("the plugin hands back a blob that was lent for an earlier call")))
    }

    /// Books bytes that the guest writes into blobs.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<()> {
        // Outside of a call there is nobody to whom a blob could go.
        if self.store.call().is_none() {
            return Err(PluginError::denied("blobs can only be written during a call"));
        }
        self.store.written.charge(bytes as u64)
    }

    /// The error of a call, with what only the host knows of its cause: what it refused to the guest, or that the guest has nothing
    /// of that which it misses.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        let error = self.store.witness.explain(error);
        if error.help().is_some() || !matches!(error.code(), ErrorCode::PluginFailed | ErrorCode::Crashed) {
            return error;
        }
        match self.rights.unmet(&self.store.witness, &error) {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}
