//! A loaded plugin: the live copy behind a name, which can be swapped under running calls.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use bivium_instances::PluginLog;
use bivium_interface::{CallHandle, CallId, Manifest, PluginError, PluginInterface, Result};
use serde_json::Value;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tokio::time::{Duration, timeout};

use crate::config::Schema;

/// How long running calls get to end by themselves when their plugin is unloaded.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// What the manager knows of a loaded plugin. It outlives the copies behind it.
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) log: PluginLog,
    pub(super) enabled: AtomicBool,
    /// Taken by whoever configures or reloads.
    pub(super) turn: tokio::sync::Mutex<()>,
    calls: Mutex<BTreeMap<CallId, CallHandle>>,
    active: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    Ready(Arc<Copy>),
    /// The old copy has been ended to make room for the new one; calls wait.
    Swapping,
    Gone(PluginError),
}

/// One copy of a plugin, as it was constructed and configured.
pub(super) struct Copy {
    pub(super) plugin: Arc<dyn PluginInterface>,
    /// None for a plugin that the host registered itself.
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) schema: Schema,
    config: Mutex<Arc<Value>>,
    /// Every call holds it for reading; whoever waits for the calls to end takes it for writing.
    gate: Arc<RwLock<()>>,
}

/// A call's hold on a copy: the copy does not end before the hold does.
pub(super) struct Hold {
    pub(super) copy: Arc<Copy>,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Copy {
    pub(super) fn new(
        plugin: Arc<dyn PluginInterface>,
        manifest: Option<Arc<Manifest>>,
        schema: Schema,
        config: Value,
    ) -> Arc<Self> {
        Arc::new(Self { plugin, manifest, schema, config: Mutex::new(Arc::new(config)), gate: Arc::default() })
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Value> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_config(&self, config: Value) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(super) fn requires_gpu(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.resources.requires_gpu)
    }
}

impl Loaded {
    pub(super) fn new(name: &str, log: PluginLog, enabled: bool, copy: Arc<Copy>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            log,
            enabled: AtomicBool::new(enabled),
            turn: tokio::sync::Mutex::default(),
            calls: Mutex::default(),
            active: watch::channel(State::Ready(copy)).0,
        })
    }

    /// The copy that serves calls now; none while it is being swapped.
    pub(super) fn copy(&self) -> Result<Arc<Copy>> {
        match &*self.active.borrow() {
            State::Ready(copy) => Ok(Arc::clone(copy)),
            State::Swapping => Err(PluginError::unavailable("the plugin is being reloaded").with_plugin(&self.name)),
            State::Gone(error) => Err(error.clone()),
        }
    }

    /// A hold on the copy that serves calls; waits while it is being swapped.
    pub(super) async fn hold(&self) -> Result<Hold> {
        let mut active = self.active.subscribe();
        loop {
            let state = active.borrow_and_update().clone();
            match state {
                State::Gone(error) => return Err(error),
                State::Ready(copy) => {
                    // Refused only where the copy is being drained: another state follows at once.
                    if let Ok(gate) = Arc::clone(&copy.gate).try_read_owned() {
                        return Ok(Hold { copy, _gate: gate });
                    }
                }
                State::Swapping => {}
            }
            // The sender lives in `self`.
            let _ = active.changed().await;
        }
    }

    pub(super) fn set_ready(&self, copy: Arc<Copy>) {
        self.active.send_replace(State::Ready(copy));
    }

    pub(super) fn set_swapping(&self) {
        self.active.send_replace(State::Swapping);
    }

    pub(super) fn set_gone(&self, error: PluginError) {
        self.active.send_replace(State::Gone(error));
    }

    /// Waits for the copy's calls, however long their deadlines let them take, and ends it. The copy must no
    /// longer be the one that serves.
    pub(super) async fn retire(&self, copy: &Copy) -> Result<()> {
        drop(copy.gate.write().await);
        copy.plugin.cleanup().await
    }

    /// Ends the last copy: its calls get a short time, then are cancelled.
    pub(super) async fn end(&self, copy: &Copy) -> Result<()> {
        if timeout(DRAIN, copy.gate.write()).await.is_err() {
            for call in self.calls() {
                call.cancel();
            }
        }
        copy.plugin.cleanup().await
    }

    /// The calls on their way.
    pub(super) fn calls(&self) -> Vec<CallHandle> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Lists a call until what is given back is dropped.
    pub(super) fn list(self: &Arc<Self>, call: &CallHandle) -> Listed {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call.id(), call.clone());
        Listed { loaded: Arc::clone(self), id: call.id() }
    }
}

/// Keeps a call on its plugin's list.
pub(super) struct Listed {
    loaded: Arc<Loaded>,
    id: CallId,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.loaded.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
