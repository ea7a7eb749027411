//! The smallest runtime possible, which the tests of the pool control.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bivium_instances::{Instance, InstanceFactory, Placement, PoolLimits, PooledPlugin};
use bivium_interface::{
    Call, CallHandle, ErrorCode, InstanceStats, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface,
    Result,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What the test controls and observes.
pub struct World {
    pub made: AtomicU32,
    pub closed: AtomicU32,
    /// Instances made after this many refuse every configuration but the first that they were given.
    pub stubborn_from: AtomicU32,
    /// A call of method `wait` ends when it gets a permit.
    pub gate: Semaphore,
    /// A start goes on when it gets a permit, if starts are slow.
    pub slow: AtomicBool,
    pub starts: Semaphore,
    /// Starts that are going on.
    pub starting: AtomicU32,
    /// Starts fail.
    pub failing: AtomicBool,
    /// An instance that is closed takes a permit, if closing is slow.
    pub slow_close: AtomicBool,
    pub closes: Semaphore,
}

pub struct TestInstance {
    world: Arc<World>,
    id: u32,
    alive: AtomicBool,
    crash: Mutex<Option<PluginError>>,
    config: Mutex<Option<Value>>,
}

impl Instance for TestInstance {
    async fn initialize(&self, config: &Value) -> Result<()> {
        let mut current = self.config.lock().unwrap();
        let stubborn = self.id >= self.world.stubborn_from.load(Ordering::SeqCst);
        if stubborn && current.as_ref().is_some_and(|current| current != config) {
            return Err(PluginError::invalid_config("this instance refuses every other configuration"));
        }
        *current = Some(config.clone());
        Ok(())
    }

    async fn execute(&self, call: &mut Call) -> Result<Payload> {
        match &*call.method {
            "wait" => {
                let permit = call.handle().guard(async { Ok(self.world.gate.acquire().await.unwrap()) }).await?;
                permit.forget();
            }
            "crash" => {
                self.alive.store(false, Ordering::SeqCst);
                let error = PluginError::crashed("killed by a signal");
                *self.crash.lock().unwrap() = Some(error.clone());
                return Err(error);
            }
            "trap" => {
                self.alive.store(false, Ordering::SeqCst);
                return Err(PluginError::crashed("unreachable"));
            }
            _ => {}
        }
        Ok(json!({"instance": self.id, "config": *self.config.lock().unwrap()}).into())
    }

    async fn execute_stream(self: Arc<Self>, _call: Call) -> Result<PayloadStream> {
        Ok(PayloadStream::new(stream::iter((0..3).map(|n| Ok(json!(n).into())))))
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        Ok(Vec::new())
    }

    async fn config_schema(&self) -> Result<Value> {
        Ok(json!({}))
    }

    async fn current_config(&self) -> Result<Value> {
        Ok(self.config.lock().unwrap().clone().unwrap_or_default())
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    fn crash(&self) -> Option<PluginError> {
        self.crash.lock().unwrap().clone()
    }

    async fn close(&self) {
        if self.world.slow_close.load(Ordering::SeqCst) {
            self.world.closes.acquire().await.unwrap().forget();
        }
        self.world.closed.fetch_add(1, Ordering::SeqCst);
    }

    fn stats(&self) -> InstanceStats {
        let mut stats = InstanceStats::default();
        stats.id = self.id.into();
        stats
    }
}

pub struct Factory {
    world: Arc<World>,
    limits: PoolLimits,
}

#[async_trait]
impl InstanceFactory for Factory {
    type Instance = TestInstance;

    fn name(&self) -> &str {
        "sample"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn limits(&self) -> PoolLimits {
        self.limits
    }

    async fn create(&self, _placement: Placement) -> Result<TestInstance> {
        let id = self.world.made.fetch_add(1, Ordering::SeqCst);
        let _starting = Starting::new(&self.world);
        tokio::task::yield_now().await;
        if self.world.slow.load(Ordering::SeqCst) {
            self.world.starts.acquire().await.unwrap().forget();
        }
        if self.world.failing.load(Ordering::SeqCst) {
            return Err(PluginError::crashed("exited with status 1"));
        }
        let (world, alive) = (Arc::clone(&self.world), AtomicBool::new(true));
        Ok(TestInstance { world, id, alive, crash: Mutex::default(), config: Mutex::default() })
    }
}

/// Counts a start while it goes on.
struct Starting<'a>(&'a World);

impl<'a> Starting<'a> {
    fn new(world: &'a World) -> Self {
        world.starting.fetch_add(1, Ordering::SeqCst);
        Self(world)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.starting.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn pool(instances: u32, calls_per_instance: u32, single_use: bool) -> (Arc<World>, Arc<PooledPlugin<Factory>>) {
    pool_of(PoolLimits { instances, calls_per_instance, single_use, ..PoolLimits::default() })
}

pub fn pool_of(limits: PoolLimits) -> (Arc<World>, Arc<PooledPlugin<Factory>>) {
    let world = Arc::new(World {
        made: AtomicU32::new(0),
        closed: AtomicU32::new(0),
        stubborn_from: AtomicU32::new(u32::MAX),
        gate: Semaphore::new(0),
        slow: AtomicBool::new(false),
        starts: Semaphore::new(0),
        starting: AtomicU32::new(0),
        failing: AtomicBool::new(false),
        slow_close: AtomicBool::new(false),
        closes: Semaphore::new(0),
    });
    let factory = Factory { world: Arc::clone(&world), limits };
    (world, Arc::new(PooledPlugin::new(factory).drain(Duration::from_millis(20))))
}

/// Waits for a state that other tasks reach by themselves.
pub async fn until(mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..100_000 {
        if is().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the expected state was not reached");
}

/// Starts `n` calls that wait at the gate, and returns them once all of them run.
pub async fn waiting_calls(
    plugin: &Arc<PooledPlugin<Factory>>,
    n: u64,
) -> Vec<(CallHandle, tokio::task::JoinHandle<Result<Payload>>)> {
    let start = |_| {
        let (call, plugin) = (Call::new().method("wait"), Arc::clone(plugin));
        (call.handle().clone(), tokio::spawn(async move { plugin.execute(call).await }))
    };
    let calls = (0..n).map(start).collect();
    until(async || plugin.stats().await.unwrap().running >= n).await;
    calls
}

pub fn code<T>(result: Result<T>) -> ErrorCode {
    result.err().expect("an error").code()
}
