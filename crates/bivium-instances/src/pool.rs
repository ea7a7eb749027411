//! The pool: who gets which instance, and when.
//!
//! A fair semaphore with one permit for each call that may run decides *when*; a list of slots under a short lock
//! decides *which*. Instances are made when a call needs one and none is free, one at a time; those that died are
//! closed when their last call lets go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallHandle, PluginError, Result};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Instance, InstanceFactory, PoolLimits};

pub(crate) struct Pool<F: InstanceFactory> {
    factory: F,
    limits: PoolLimits,
    permits: Arc<Semaphore>,
    /// Held while an instance is made, so that callers who could share one do not make several.
    making: tokio::sync::Mutex<()>,
    state: Mutex<State<F::Instance>>,
    pub(crate) waiting: AtomicU64,
}

struct State<I> {
    slots: Vec<Slot<I>>,
    /// None until the first configuration.
    config: Option<Arc<Value>>,
    restarts: u64,
    closed: bool,
}

struct Slot<I> {
    instance: Arc<I>,
    /// Calls that hold it.
    held: u32,
}

/// The right to run one call on an instance.
pub(crate) struct Lease<F: InstanceFactory> {
    pool: Arc<Pool<F>>,
    instance: Arc<F::Instance>,
    _permit: OwnedSemaphorePermit,
}

impl<F: InstanceFactory> Lease<F> {
    pub(crate) fn instance(&self) -> &Arc<F::Instance> {
        &self.instance
    }
}

impl<F: InstanceFactory> Drop for Lease<F> {
    fn drop(&mut self) {
        self.pool.give_back(&self.instance);
    }
}

impl<F: InstanceFactory> Pool<F> {
    pub(crate) fn new(factory: F) -> Self {
        let mut limits = factory.limits();
        limits.instances = limits.instances.max(1);
        limits.calls_per_instance = if limits.single_use { 1 } else { limits.calls_per_instance.max(1) };
        Self {
            permits: Arc::new(Semaphore::new(Self::permits_of(limits) as usize)),
            factory,
            limits,
            making: tokio::sync::Mutex::default(),
            state: Mutex::new(State { slots: Vec::new(), config: None, restarts: 0, closed: false }),
            waiting: AtomicU64::new(0),
        }
    }

    pub(crate) fn factory(&self) -> &F {
        &self.factory
    }

    fn permits_of(limits: PoolLimits) -> u32 {
        // A semaphore's permits are taken by a u32 at once; the product of two manifest numbers stays far below.
        limits.instances.saturating_mul(limits.calls_per_instance).min(u32::MAX >> 4)
    }

    fn state(&self) -> MutexGuard<'_, State<F::Instance>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> PluginError {
        PluginError::unavailable("the plugin is unloaded").with_help("load it again")
    }

    /// Waits for the right to run a call, makes an instance if none is free, and gives it.
    pub(crate) async fn lease(self: &Arc<Self>, call: &CallHandle) -> Result<Lease<F>> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::new(&self.waiting);
                let acquired = async { Ok(Arc::clone(&self.permits).acquire_owned().await) };
                call.guard(acquired).await?.map_err(|_| self.closed())?
            }
        };
        let instance = match self.take_free()? {
            Some(instance) => instance,
            None => call.guard(self.take_or_make()).await?,
        };
        Ok(Lease { pool: Arc::clone(self), instance, _permit: permit })
    }

    /// A lease outside of any call, for questions to an instance.
    pub(crate) async fn lease_for_question(self: &Arc<Self>) -> Result<Lease<F>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| self.closed())?;
        let instance = self.take_or_make().await?;
        Ok(Lease { pool: Arc::clone(self), instance, _permit: permit })
    }

    /// A live instance with room for a call: the one most lately used, whose memory is warm.
    fn take_free(&self) -> Result<Option<Arc<F::Instance>>> {
        let mut state = self.state();
        if state.closed {
            return Err(self.closed());
        }
        let per_instance = self.limits.calls_per_instance;
        let free = state.slots.iter_mut().rev().find(|slot| slot.held < per_instance && slot.instance.is_alive());
        Ok(free.map(|slot| {
            slot.held += 1;
            Arc::clone(&slot.instance)
        }))
    }

    async fn take_or_make(&self) -> Result<Arc<F::Instance>> {
        let _making = self.making.lock().await;
        if let Some(instance) = self.take_free()? {
            return Ok(instance);
        }
        self.discard_idle_dead();
        let config = self.state().config.clone();
        let instance = self.make(config.as_deref()).await?;
        let mut state = self.state();
        if state.closed {
            // Dropping frees it.
            return Err(self.closed());
        }
        state.slots.push(Slot { instance: Arc::clone(&instance), held: 1 });
        Ok(instance)
    }

    async fn make(&self, config: Option<&Value>) -> Result<Arc<F::Instance>> {
        let instance = Arc::new(self.factory.create().await?);
        if let Some(config) = config
            && let Err(error) = instance.initialize(config).await
        {
            instance.close().await;
            return Err(error);
        }
        Ok(instance)
    }

    fn discard_idle_dead(&self) {
        let mut state = self.state();
        let before = state.slots.len();
        state.slots.retain(|slot| slot.held > 0 || slot.instance.is_alive());
        state.restarts += (before - state.slots.len()) as u64;
    }

    fn give_back(&self, instance: &Arc<F::Instance>) {
        let mut state = self.state();
        let Some(at) = state.slots.iter().position(|slot| Arc::ptr_eq(&slot.instance, instance)) else { return };
        let dead = !instance.is_alive();
        let Some(slot) = state.slots.get_mut(at) else { return };
        slot.held -= 1;
        if slot.held == 0 && (dead || self.limits.single_use || state.closed) {
            state.slots.remove(at);
            state.restarts += u64::from(dead);
            drop(state);
            close_later(Arc::clone(instance));
        }
    }

    /// Applies a configuration to every instance or to none. Waits until no call runs.
    pub(crate) async fn configure(&self, config: Value) -> Result<()> {
        let _all = self.drained().await?;
        self.discard_idle_dead();
        let (old, instances) = {
            let state = self.state();
            let instances: Vec<_> = state.slots.iter().map(|slot| Arc::clone(&slot.instance)).collect();
            (state.config.clone(), instances)
        };
        if instances.is_empty() {
            let instance = self.make(Some(&config)).await?;
            let mut state = self.state();
            if state.closed {
                return Err(self.closed());
            }
            state.slots.push(Slot { instance, held: 0 });
        }
        let mut touched = Touched { pool: self, instances: Vec::new() };
        for instance in instances {
            touched.instances.push(Arc::clone(&instance));
            if let Err(error) = instance.initialize(&config).await {
                // The one that failed says that it kept the old configuration; it is told again all the same.
                self.roll_back(&touched.instances, old.as_deref()).await;
                touched.instances.clear();
                return Err(error);
            }
        }
        touched.instances.clear();
        drop(touched);
        self.state().config = Some(Arc::new(config));
        Ok(())
    }

    /// Puts the old configuration back; an instance that refuses it is ended, and the next call makes another.
    async fn roll_back(&self, instances: &[Arc<F::Instance>], old: Option<&Value>) {
        for instance in instances {
            let restored = match old {
                Some(old) => instance.initialize(old).await.is_ok(),
                None => false,
            };
            if !restored {
                self.state().slots.retain(|slot| !Arc::ptr_eq(&slot.instance, instance));
                instance.close().await;
            }
        }
    }

    /// Waits until no call runs; calls made meanwhile wait behind, for as long as what is given is held.
    pub(crate) async fn drained(&self) -> Result<OwnedSemaphorePermit> {
        let all = Self::permits_of(self.limits);
        Arc::clone(&self.permits).acquire_many_owned(all).await.map_err(|_| self.closed())
    }

    /// Refuses further calls and closes every instance, also those that still run a call.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let slots = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.slots)
        };
        futures_util::future::join_all(slots.iter().map(|slot| slot.instance.close())).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(crate) fn instances(&self) -> (Vec<Arc<F::Instance>>, u64) {
        let state = self.state();
        (state.slots.iter().map(|slot| Arc::clone(&slot.instance)).collect(), state.restarts)
    }
}

/// Instances that a change of configuration has reached. Dropped in the middle of the change, it ends them, since
/// nobody knows which configuration they have: the next call makes others with the one in force.
struct Touched<'a, F: InstanceFactory> {
    pool: &'a Pool<F>,
    instances: Vec<Arc<F::Instance>>,
}

impl<F: InstanceFactory> Drop for Touched<'_, F> {
    fn drop(&mut self) {
        for instance in self.instances.drain(..) {
            self.pool.state().slots.retain(|slot| !Arc::ptr_eq(&slot.instance, &instance));
            close_later(instance);
        }
    }
}

/// Closes an instance where nobody waits for it. Without a runtime, dropping it must do.
fn close_later<I: Instance>(instance: Arc<I>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { instance.close().await });
    }
}

/// Counts a call as waiting while it lives, and no longer: also one whose future is dropped.
#[must_use]
pub struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    /// One more in `count`.
    pub fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
