//! A loaded plugin: the current copy of a plugin, which can be replaced while calls run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_instances::{DRAIN_TIME, drain};
use bivium_interface::{CallHandle, CallId, LogLevel, LogSource, Manifest, PluginError, PluginInterface, Result};
use bivium_records::{FailureLog, PluginLog};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tokio::task::JoinHandle;

use super::layers::Layered;
use crate::config::Schema;

/// A loaded plugin. It outlives its copies.
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) log: PluginLog,
    failures: FailureLog,
    pub(super) enabled: AtomicBool,
    /// The saved configuration when this host last read or wrote it. The difference to the current configuration is what this host has
    /// changed since.
    base: Mutex<Value>,
    /// Locked while the plugin is configured or reloaded.
    pub(super) turn: tokio::sync::Mutex<()>,
    calls: Mutex<Calls>,
    /// Tasks that end copies which a reload replaced and whose calls still run.
    retiring: Mutex<Vec<JoinHandle<()>>>,
    active: watch::Sender<State>,
}

/// The running and waiting calls, oldest first.
#[derive(Default)]
struct Calls {
    next: u64,
    list: BTreeMap<u64, CallHandle>,
}

#[derive(Clone)]
enum State {
    Ready(Arc<PluginCopy>),
    /// The old copy has been ended to free memory for the new one; calls wait.
    Swapping,
    Gone(PluginError),
}

/// One copy of a plugin, constructed and configured.
pub(super) struct PluginCopy {
    pub(super) layered: Layered,
    pub(super) schema: Schema,
    config: Mutex<Config>,
    /// Every call holds a read lock; to wait for the end of all calls, take the write lock.
    gate: Arc<RwLock<()>>,
}

/// A configuration.
#[derive(Clone)]
pub(super) struct Config {
    /// As given.
    pub(super) given: Arc<Value>,
    /// With the schema's defaults.
    pub(super) complete: Arc<Value>,
}

/// Keeps a copy from ending while a call uses it.
struct Hold {
    copy: Arc<PluginCopy>,
    _gate: OwnedRwLockReadGuard<()>,
}

/// The copy that serves a call. Until this is dropped, the copy does not end and the call is listed.
pub(super) struct Serving {
    hold: Hold,
    _listed: Listed,
}

impl Serving {
    pub(super) fn copy(&self) -> &PluginCopy {
        &self.hold.copy
    }
}

impl PluginCopy {
    pub(super) fn new(layered: Layered, schema: Schema, config: Config) -> Arc<Self> {
        Arc::new(Self { layered, schema, config: Mutex::new(config), gate: Arc::default() })
    }

    /// None for a plugin that the host registered itself.
    pub(super) fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.layered.admitted.manifest.as_ref()
    }

    pub(super) fn plugin(&self) -> &dyn PluginInterface {
        self.layered.plugin()
    }

    /// The current configuration.
    pub(super) fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(super) fn requires_gpu(&self) -> bool {
        self.manifest().is_some_and(|manifest| manifest.resources.gpus() > 0)
    }
}

impl Loaded {
    pub(super) fn new(name: &str, log: PluginLog, enabled: bool, base: Value, copy: Arc<PluginCopy>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            failures: FailureLog::new(log.clone()),
            log,
            enabled: AtomicBool::new(enabled),
            base: Mutex::new(base),
            turn: tokio::sync::Mutex::default(),
            calls: Mutex::default(),
            retiring: Mutex::default(),
            active: watch::channel(State::Ready(copy)).0,
        })
    }

    pub(super) fn base(&self) -> Value {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_base(&self, base: Value) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
    }

    /// The copy that serves calls now. Fails while it is being replaced.
    pub(super) fn copy(&self) -> Result<Arc<PluginCopy>> {
        match &*self.active.borrow() {
            State::Ready(copy) => Ok(Arc::clone(copy)),
            State::Swapping => Err(PluginError::unavailable("the plugin is being reloaded").with_plugin(&self.name)),
            State::Gone(error) => Err(error.clone()),
        }
    }

    /// A hold on the copy that serves calls, if there is one without waiting.
    fn try_hold(&self) -> Option<Hold> {
        let copy = self.copy().ok()?;
        let gate = Arc::clone(&copy.gate).try_read_owned().ok()?;
        // Checked again, because the copy may have been replaced and ended meanwhile.
        let serves = matches!(&*self.active.borrow(), State::Ready(active) if Arc::ptr_eq(active, &copy));
        serves.then_some(Hold { copy, _gate: gate })
    }

    /// A hold on the copy that serves calls. Waits while it is being replaced.
    async fn hold(&self) -> Result<Hold> {
        let mut active = self.active.subscribe();
        loop {
            let state = active.borrow_and_update().clone();
            match state {
                State::Gone(error) => return Err(error),
                State::Ready(copy) => {
                    // Fails only while the copy is being ended; then another state follows at once.
                    if let Ok(gate) = Arc::clone(&copy.gate).try_read_owned() {
                        // Checked again, because the copy may have been replaced and ended meanwhile.
                        if !active.has_changed().unwrap_or(false) {
                            return Ok(Hold { copy, _gate: gate });
                        }
                        continue;
                    }
                }
                State::Swapping => {}
            }
            // The sender is in `self`, so it is not closed.
            let _ = active.changed().await;
        }
    }

    pub(super) fn set_ready(&self, copy: Arc<PluginCopy>) {
        self.active.send_replace(State::Ready(copy));
    }

    pub(super) fn set_swapping(&self) {
        self.active.send_replace(State::Swapping);
    }

    pub(super) fn set_gone(&self, error: PluginError) {
        self.active.send_replace(State::Gone(error));
    }

    /// Waits for the copy's calls to end, as long as their deadlines allow, and then ends the copy. New calls must already use another
    /// copy.
    pub(super) async fn retire(&self, copy: &PluginCopy) -> Result<()> {
        drop(copy.gate.write().await);
        copy.plugin().cleanup().await
    }

    /// Retires a copy in the background, because its calls may take long.
    pub(super) fn retire_later(self: &Arc<Self>, copy: Arc<PluginCopy>) {
        let loaded = Arc::clone(self);
        let retiring = tokio::spawn(async move { loaded.note_end(loaded.retire(&copy).await) });
        let mut all = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.is_finished());
        all.push(retiring);
    }

    /// Logs the error of a copy's end. The copy has ended in any case.
    pub(super) fn note_end(&self, result: Result<()>) {
        if let Err(error) = result {
            let message = format!("the old copy's cleanup failed: {error}");
            self.log.push(LogLevel::Warn, LogSource::Host, 0, None, &message);
        }
    }

    /// Ends the last copy, and copies that are still being retired. Their calls get a short time and are then cancelled.
    pub(super) async fn end(&self, copy: &PluginCopy) -> Result<()> {
        let retiring = std::mem::take(&mut *self.retiring.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async {
            drop(copy.gate.write().await);
            join_all(retiring).await
        };
        // A call that does not end when it is cancelled ends with its instance.
        drain(ended, DRAIN_TIME, || self.cancel_all()).await;
        copy.plugin().cleanup().await
    }

    /// Asks every call to stop.
    pub(super) fn cancel_all(&self) {
        self.calls().iter().for_each(CallHandle::cancel);
    }

    /// Whether there is no copy and there will be none.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.active.borrow(), State::Gone(_))
    }

    /// The running and waiting calls, oldest first.
    pub(super) fn calls(&self) -> Vec<CallHandle> {
        self.listed().list.values().cloned().collect()
    }

    fn listed(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call to the list and returns the copy that serves it. Waits while the plugin is being reloaded.
    ///
    /// # Errors
    /// `unavailable` if it is disabled or gone; `cancelled`; `timeout`.
    pub(super) async fn enter(self: &Arc<Self>, call: &CallHandle) -> Result<Serving> {
        if !self.enabled.load(Ordering::Relaxed) {
            return Err(disabled(&self.name));
        }
        let listed = self.list(call);
        // Waiting is rare and its future is large. The box keeps the future of each call small.
        let hold = match self.try_hold() {
            Some(hold) => hold,
            None => Box::pin(call.guard(self.hold()))
                .await
                .map_err(|error| error.with_plugin(&self.name).with_call(call.id()))?,
        };
        Ok(Serving { hold, _listed: listed })
    }

    /// The error of a call, by its name and id, after it was written into the plugin's log.
    pub(super) fn failed(&self, error: PluginError, call: CallId) -> PluginError {
        let error = error.with_plugin(&self.name).with_call(call);
        self.failures.call(&error);
        error
    }

    /// Adds a call to the list, until the returned value is dropped.
    fn list(self: &Arc<Self>, call: &CallHandle) -> Listed {
        let mut calls = self.listed();
        let number = calls.next;
        calls.next += 1;
        calls.list.insert(number, call.clone());
        Listed { loaded: Arc::clone(self), number }
    }
}

/// The error of a call to a plugin that is disabled.
pub(super) fn disabled(name: &str) -> PluginError {
    PluginError::unavailable("the plugin is disabled")
        .with_plugin(name)
        .with_help(format!("`bivium enable {name}` enables it"))
}

/// Keeps a call in its plugin's list.
struct Listed {
    loaded: Arc<Loaded>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let call = self.loaded.listed().list.remove(&self.number);
        // Dropped without the lock.
        drop(call);
    }
}
