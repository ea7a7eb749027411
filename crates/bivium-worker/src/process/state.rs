//! [`WorkerState`]: what is known of a worker's process while it runs and when it has ended.

use std::sync::{Arc, OnceLock};

use bivium_interface::CallId;
use tokio::sync::watch;

use crate::process::ending::{EndReason, Ending, LastLines};
use crate::process::output::Output;
use crate::process::running::RunningCalls;

/// The state of a worker, which the tasks that watch it and its calls share.
#[derive(Debug)]
pub(crate) struct WorkerState {
    /// The last lines that it printed to stderr.
    pub(crate) stderr: Arc<LastLines>,
    pub(crate) ending: watch::Sender<Option<Ending>>,
    /// Why the host ended it.
    pub(crate) because: OnceLock<EndReason>,
    pub(crate) output: OnceLock<Arc<Output>>,
    pub(crate) running: Arc<RunningCalls>,
}

impl WorkerState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            stderr: Arc::default(),
            ending: watch::Sender::new(None),
            because: OnceLock::new(),
            output: OnceLock::new(),
            running: Arc::default(),
        })
    }

    /// Waits until the worker and all processes below it have ended.
    pub(crate) async fn ended(&self) -> Ending {
        let mut ending = self.ending.subscribe();
        // The sender is a field of `self`, so it still exists.
        ending.wait_for(Option::is_some).await.ok().and_then(|ending| ending.clone()).unwrap_or_default()
    }

    /// Records that a call has begun or ended. When this returns, what the call has printed is in the log.
    pub(crate) fn running(&self, call: CallId, runs: bool) {
        if let Some(output) = self.output.get().filter(|_| !runs) {
            output.settle(call);
        }
        self.running.set(call, runs);
    }
}
