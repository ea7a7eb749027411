//! A loaded plugin: the live copy behind a name, which can be swapped under running calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_instances::{DRAIN_TIME, drain};
use bivium_interface::{CallHandle, LogLevel, LogSource, Manifest, PluginError, PluginInterface, Result};
use bivium_records::PluginLog;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tokio::task::JoinHandle;

use super::layers::Layered;
use crate::config::Schema;

/// What the manager knows of a loaded plugin. It outlives the copies behind it.
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) log: PluginLog,
    pub(super) enabled: AtomicBool,
    /// What was saved when the configuration in force was last read from there or written there: the difference is what
    /// this host has changed since.
    base: Mutex<Value>,
    /// Taken by whoever configures or reloads.
    pub(super) turn: tokio::sync::Mutex<()>,
    calls: Mutex<Calls>,
    /// The ends of copies that a reload replaced and that still work.
    retiring: Mutex<Vec<JoinHandle<()>>>,
    active: watch::Sender<State>,
}

/// The calls on their way, oldest first.
#[derive(Default)]
struct Calls {
    next: u64,
    list: BTreeMap<u64, CallHandle>,
}

#[derive(Clone)]
enum State {
    Ready(Arc<PluginCopy>),
    /// The old copy has been ended to make room for the new one; calls wait.
    Swapping,
    Gone(PluginError),
}

/// One copy of a plugin, as it was constructed and configured.
pub(super) struct PluginCopy {
    pub(super) layered: Layered,
    pub(super) schema: Schema,
    config: Mutex<Config>,
    /// Every call holds it for reading; whoever waits for the calls to end takes it for writing.
    gate: Arc<RwLock<()>>,
}

/// A configuration.
#[derive(Clone)]
pub(super) struct Config {
    /// As it was given.
    pub(super) given: Arc<Value>,
    /// With the schema's defaults.
    pub(super) complete: Arc<Value>,
}

/// A call's hold on a copy: the copy does not end before the hold does.
struct Hold {
    copy: Arc<PluginCopy>,
    _gate: OwnedRwLockReadGuard<()>,
}

/// The copy that serves a call, held, and the call on its plugin's list, until this is dropped.
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

    /// The configuration in force.
    pub(super) fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(super) fn requires_gpu(&self) -> bool {
        self.manifest().is_some_and(|manifest| manifest.resources.requires_gpu)
    }
}

impl Loaded {
    pub(super) fn new(name: &str, log: PluginLog, enabled: bool, base: Value, copy: Arc<PluginCopy>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
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

    /// The copy that serves calls now; none while it is being swapped.
    pub(super) fn copy(&self) -> Result<Arc<PluginCopy>> {
        match &*self.active.borrow() {
            State::Ready(copy) => Ok(Arc::clone(copy)),
            State::Swapping => Err(PluginError::unavailable("the plugin is being reloaded").with_plugin(&self.name)),
            State::Gone(error) => Err(error.clone()),
        }
    }

    /// A hold on the copy that serves calls, where that is no matter of waiting.
    fn try_hold(&self) -> Option<Hold> {
        let copy = self.copy().ok()?;
        let gate = Arc::clone(&copy.gate).try_read_owned().ok()?;
        // Not one that was replaced and ended between the look and the hold.
        let serves = matches!(&*self.active.borrow(), State::Ready(active) if Arc::ptr_eq(active, &copy));
        serves.then_some(Hold { copy, _gate: gate })
    }

    /// A hold on the copy that serves calls; waits while it is being swapped.
    async fn hold(&self) -> Result<Hold> {
        let mut active = self.active.subscribe();
        loop {
            let state = active.borrow_and_update().clone();
            match state {
                State::Gone(error) => return Err(error),
                State::Ready(copy) => {
                    // Refused only where the copy is being drained: another state follows at once.
                    if let Ok(gate) = Arc::clone(&copy.gate).try_read_owned() {
                        // Not one that was replaced and ended between the look and the hold.
                        if !active.has_changed().unwrap_or(false) {
                            return Ok(Hold { copy, _gate: gate });
                        }
                        continue;
                    }
                }
                State::Swapping => {}
            }
            // The sender lives in `self`.
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

    /// Waits for the copy's calls, however long their deadlines let them take, and ends it. The copy must no
    /// longer be the one that serves.
    pub(super) async fn retire(&self, copy: &PluginCopy) -> Result<()> {
        drop(copy.gate.write().await);
        copy.plugin().cleanup().await
    }

    /// Retires a copy in the background: its calls may take long, and nobody needs to wait for them.
    pub(super) fn retire_later(self: &Arc<Self>, copy: Arc<PluginCopy>) {
        let loaded = Arc::clone(self);
        let retiring = tokio::spawn(async move { loaded.note_end(loaded.retire(&copy).await) });
        let mut all = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.is_finished());
        all.push(retiring);
    }

    /// A copy that did not end cleanly has ended all the same; the log says so.
    pub(super) fn note_end(&self, result: Result<()>) {
        if let Err(error) = result {
            let message = format!("the old copy's cleanup failed: {error}");
            self.log.push(LogLevel::Warn, LogSource::Host, 0, None, &message);
        }
    }

    /// Ends the last copy, and those that still retire: their calls get a short time, then are cancelled.
    pub(super) async fn end(&self, copy: &PluginCopy) -> Result<()> {
        let retiring = std::mem::take(&mut *self.retiring.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async {
            drop(copy.gate.write().await);
            join_all(retiring).await
        };
        // What does not end when it is cancelled ends with its instance.
        drain(ended, DRAIN_TIME, || self.cancel_all()).await;
        copy.plugin().cleanup().await
    }

    /// Asks every call to stop.
    pub(super) fn cancel_all(&self) {
        self.calls().iter().for_each(CallHandle::cancel);
    }

    /// Whether there is no copy and will be none.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.active.borrow(), State::Gone(_))
    }

    /// The calls on their way, oldest first.
    pub(super) fn calls(&self) -> Vec<CallHandle> {
        self.listed().list.values().cloned().collect()
    }

    fn listed(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a call and finds the copy that serves it. Waits while the plugin is being reloaded.
    ///
    /// # Errors
    /// `unavailable` if it is disabled or gone; `cancelled`; `timeout`.
    pub(super) async fn enter(self: &Arc<Self>, call: &CallHandle) -> Result<Serving> {
        if !self.enabled.load(Ordering::Relaxed) {
            return Err(disabled(&self.name));
        }
        let listed = self.list(call);
        // Waiting is seldom and large: in a box, so that what each call moves about stays small.
        let hold = match self.try_hold() {
            Some(hold) => hold,
            None => Box::pin(call.guard(self.hold()))
                .await
                .map_err(|error| error.with_plugin(&self.name).with_call(call.id()))?,
        };
        Ok(Serving { hold, _listed: listed })
    }

    /// Lists a call until what is given back is dropped.
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

/// Keeps a call on its plugin's list.
struct Listed {
    loaded: Arc<Loaded>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let call = self.loaded.listed().list.remove(&self.number);
        // Without the lock.
        drop(call);
    }
}
