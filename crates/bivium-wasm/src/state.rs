//! [`HostState`]: what the host keeps beside one guest, in its store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bivium_exchange::Exchange;
use bivium_instances::document::Pace;
use bivium_interface::{Blob, CallHandle, ErrorCode, PluginError, Result};
use tokio::time::Instant;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::WasiCtx;

use crate::blobs::{BlobHandle, OpenBlob};
use crate::bounds::Reach;
use crate::command::Command;
use crate::engine::WasmEngine;
use crate::limits::{Limiter, StoreLimits};
use crate::log::GuestLog;
use crate::network::{Network, NetworkGrant};
use crate::quota::Written;
use crate::wasi::{Clock, Files, Random, Rights};
use crate::witness::Witness;

/// The data of one store.
pub(crate) struct HostState {
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) exchange: Exchange,
    pub(crate) limits: StoreLimits,
    pub(crate) witness: Arc<Witness>,
    pub(crate) rights: Arc<Rights>,
    /// What the running call has written, into blobs and files.
    pub(crate) written: Arc<Written>,
    pub(crate) files: Files,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) network: Network,
    pub(crate) reach: Arc<Reach>,
    /// What a program has of its call; none in any other component.
    pub(crate) command: Option<Arc<Command>>,
    /// None until the guest first uses WASI.
    pub(crate) wasi: Option<Box<WasiCtx>>,
    call: Option<RunningCall>,
    _counted: Arc<()>,
}

/// The call that the guest works for.
struct RunningCall {
    handle: CallHandle,
    deadline: Option<Instant>,
    /// Blobs lent for the call: dropping them ends the guest's handles.
    lent: Vec<Arc<OpenBlob>>,
}

impl HostState {
    pub(crate) fn new(
        limits: StoreLimits,
        limiter: Limiter,
        exchange: Exchange,
        witness: Arc<Witness>,
        rights: Arc<Rights>,
        network: Arc<NetworkGrant>,
        engine: &WasmEngine,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let network = Network::new(network, Arc::clone(&witness), limits.response_bytes);
        Self {
            table,
            limiter,
            log: Arc::clone(witness.log()),
            exchange,
            limits,
            witness,
            rights,
            written: Arc::new(Written::new(limits.blob_bytes)),
            files: Files::default(),
            clock: Clock::default(),
            random: Random::default(),
            network,
            reach: Arc::new(Reach::new(engine.ticker())),
            command: None,
            wasi: None,
            call: None,
            _counted: engine.count_store(),
        }
    }

    /// The guest works for this call from now on, or for the host itself.
    pub(crate) fn begin(&mut self, call: Option<&CallHandle>) {
        self.log.set_call(call.map(CallHandle::id));
        self.witness.begin();
        self.reach.asked.store(false, Ordering::Relaxed);
        self.written.reset();
        self.call = call.map(|handle| RunningCall { handle: handle.clone(), deadline: None, lent: Vec::new() });
    }

    /// The guest is entered and must have returned by then.
    pub(crate) fn enter(&mut self, deadline: Option<Instant>) {
        self.limiter.reset();
        if let Some(call) = &mut self.call {
            call.deadline = deadline;
        }
    }

    /// Ends the call, and with it the handles that were lent.
    pub(crate) fn end_call(&mut self) {
        self.call = None;
        self.hide_blobs();
        self.log.end_call();
    }

    pub(crate) fn call(&self) -> Option<&CallHandle> {
        self.call.as_ref().map(|call| &call.handle)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.call.as_ref()?.deadline
    }

    /// For work of the host's on what crosses in the running call.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.call().cloned(), self.deadline())
    }

    /// Refuses a call with more blobs than a guest may hold.
    pub(crate) fn admit(&self, blobs: &[Blob]) -> Result<()> {
        // As many clones of them must fit too.
        let most = self.limits.blobs / 2;
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
            handles.push(self.table.push(BlobHandle::Lent(Arc::downgrade(&open)))?);
            if let Some(call) = &mut self.call {
                call.lent.push(open);
            }
        }
        Ok(handles)
    }

    /// Takes back the handles that the guest returns. All are taken, also where one of them has ended.
    pub(crate) fn take(&mut self, handles: Vec<Resource<BlobHandle>>) -> wasmtime::Result<Result<Vec<Blob>>> {
        let mut taken = Vec::with_capacity(handles.len());
        for handle in handles {
            taken.push(self.table.delete(handle)?.blob());
        }
        let blobs: Result<Vec<Blob>> = taken.into_iter().collect();
        Ok(blobs.map_err(|_| PluginError::protocol("the plugin hands back a blob that was lent for an earlier call")))
    }

    /// Books bytes that the guest writes into blobs.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<()> {
        // Outside of a call there is nobody to whom a blob could go.
        if self.call.is_none() {
            return Err(PluginError::denied("blobs can only be written during a call"));
        }
        self.written.charge(bytes as u64)
    }

    /// Why a call fails though its guest did not: a use could not be recorded.
    pub(crate) fn unrecorded(&self) -> Option<PluginError> {
        self.witness.take_unrecorded()
    }

    /// The error of a call, with what only the host knows of its cause: what it refused to the guest, or that the guest has nothing
    /// of that which it misses.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        let error = self.witness.explain(error);
        if error.help().is_some() || !matches!(error.code(), ErrorCode::PluginFailed | ErrorCode::Crashed) {
            return error;
        }
        match self.rights.unmet(&self.witness, &error) {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}
