//! [`Shared`]: what the calls of one worker have in common.

use std::sync::Arc;

use bivium_exchange::{Area, Exchange, Window};
use bivium_interface::{Blob, CallId, PluginError, Result};
use tokio::runtime::Handle;

use crate::call::payload::{CallLimits, blocking};
use crate::confinement::Confinement;
use crate::low_memory::name_memory_limit_in_call;
use crate::process::GuardChannel;
use crate::process::ending::{EndReason, Ending};
use crate::process::state::WorkerState;
use crate::wire::client::Client;
use crate::wire::denials::Denials;

/// The part of a worker that its calls share.
pub(crate) struct Shared {
    pub(crate) pid: u32,
    pub(crate) client: Client,
    pub(crate) limits: CallLimits,
    pub(crate) exchange: Exchange,
    pub(crate) area: Arc<Area>,
    pub(crate) confinement: Arc<Confinement>,
    /// The directory in which it reads the blobs of its calls, if it is confined.
    pub(crate) window: Option<Arc<Window>>,
    pub(crate) runtime: Handle,
    pub(crate) denials: Denials,
    pub(crate) guard_channel: Arc<GuardChannel>,
    pub(crate) state: Arc<WorkerState>,
}

impl Shared {
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.state.ending.borrow().clone()
    }

    /// Waits until the worker and all processes below it have ended.
    pub(crate) async fn ended(&self) -> Ending {
        self.state.ended().await
    }

    /// Waits for the worker's end, and returns the error for what was in progress.
    pub(crate) async fn crashed(&self, when: &str) -> PluginError {
        let error = self.ended().await.error(when);
        match &self.denials.cures {
            Some(cures) => name_memory_limit_in_call(error, &cures.granted.limits),
            None => error,
        }
    }

    /// The blobs of a call under paths that the worker may read.
    pub(crate) async fn show(&self, blobs: &[Blob]) -> Result<Vec<Blob>> {
        // Only for blobs that the exchange owns: for a missing file of the caller, which may be anywhere, the plugin raises the error.
        if let Some(gone) = blobs.iter().find(|blob| blob.is_owned() && !blob.path().exists()) {
            return Err(PluginError::not_found(format!("the file of a blob is gone: {}", gone.path().display()))
                .with_help("set TMPDIR to a directory that exists, and exclude it from cleaners of temporary files"));
        }
        let Some(window) = self.window.as_ref().filter(|_| !blobs.is_empty()) else { return Ok(blobs.to_vec()) };
        let (window, confinement, blobs) = (Arc::clone(window), Arc::clone(&self.confinement), blobs.to_vec());
        let show = move || {
            let shown = blobs.iter().map(|blob| match confinement.lets_read(blob.path()) {
                true => Ok(blob.clone()),
                false => window.lend(blob),
            });
            shown.collect()
        };
        blocking(show).await
    }

    /// Ends the worker, which takes no more calls. Returns at once.
    pub(crate) fn end(&self, because: EndReason) {
        let _ = self.state.because.set(because);
        self.guard_channel.release();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.state.because.get().is_some()
    }

    /// Records that a call has begun or ended. When this returns, what the call has printed is in the log.
    pub(crate) fn running(&self, call: CallId, runs: bool) {
        self.state.running(call, runs);
    }
}
