//! How the pool queues, configures, replaces and ends instances, seen through `PluginInterface`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bivium_instances::{Instance, InstanceFactory, PoolLimits, PooledPlugin};
use bivium_interface::{
    Call, ErrorCode, InstanceStats, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What the test steers and sees.
struct World {
    made: AtomicU32,
    closed: AtomicU32,
    /// Instances made after this many refuse every configuration but the first that they were given.
    stubborn_from: AtomicU32,
    /// A call of method `wait` ends when it gets a permit.
    gate: Semaphore,
}

struct Copy {
    world: Arc<World>,
    id: u32,
    alive: AtomicBool,
    config: Mutex<Option<Value>>,
}

#[async_trait]
impl Instance for Copy {
    async fn initialize(&self, config: &Value) -> Result<()> {
        let mut current = self.config.lock().unwrap();
        let stubborn = self.id >= self.world.stubborn_from.load(Ordering::SeqCst);
        if stubborn && current.as_ref().is_some_and(|current| current != config) {
            return Err(PluginError::invalid_config("this instance is stubborn"));
        }
        *current = Some(config.clone());
        Ok(())
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        match &*call.method {
            "wait" => {
                let permit = call.handle().guard(async { Ok(self.world.gate.acquire().await.unwrap()) }).await?;
                permit.forget();
            }
            "crash" => {
                self.alive.store(false, Ordering::SeqCst);
                return Err(PluginError::crashed("killed by a signal"));
            }
            _ => {}
        }
        Ok(json!({"instance": self.id, "config": *self.config.lock().unwrap()}).into())
    }

    async fn execute_stream(self: Arc<Self>, _call: Call) -> Result<PayloadStream> {
        Ok(Box::pin(stream::iter((0..3).map(|n| Ok(json!(n).into())))))
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

    async fn close(&self) {
        self.world.closed.fetch_add(1, Ordering::SeqCst);
    }

    fn stats(&self) -> InstanceStats {
        InstanceStats { id: self.id.into(), ..InstanceStats::default() }
    }
}

struct Factory {
    world: Arc<World>,
    limits: PoolLimits,
}

#[async_trait]
impl InstanceFactory for Factory {
    type Instance = Copy;

    fn name(&self) -> &str {
        "sample"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn limits(&self) -> PoolLimits {
        self.limits
    }

    async fn create(&self) -> Result<Copy> {
        let id = self.world.made.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(Copy { world: Arc::clone(&self.world), id, alive: AtomicBool::new(true), config: Mutex::default() })
    }
}

fn pool(instances: u32, calls_per_instance: u32, single_use: bool) -> (Arc<World>, Arc<PooledPlugin<Factory>>) {
    let world = Arc::new(World {
        made: AtomicU32::new(0),
        closed: AtomicU32::new(0),
        stubborn_from: AtomicU32::new(u32::MAX),
        gate: Semaphore::new(0),
    });
    let limits = PoolLimits { instances, calls_per_instance, single_use };
    let factory = Factory { world: Arc::clone(&world), limits };
    (world, Arc::new(PooledPlugin::new(factory).drain(Duration::from_millis(20))))
}

/// Starts `n` calls that wait at the gate, and gives them once all of them run.
async fn waiting_calls(
    plugin: &Arc<PooledPlugin<Factory>>,
    n: u64,
) -> Vec<(Call, tokio::task::JoinHandle<Result<Payload>>)> {
    let start = |_| {
        let (call, plugin) = (Call::new().method("wait"), Arc::clone(plugin));
        let running = call.clone();
        (call, tokio::spawn(async move { plugin.execute(running).await }))
    };
    let calls = (0..n).map(start).collect();
    while plugin.stats().await.unwrap().running < n {
        tokio::task::yield_now().await;
    }
    calls
}

fn code<T>(result: Result<T>) -> ErrorCode {
    result.err().expect("an error").code()
}

#[tokio::test]
async fn callers_share_instances_up_to_the_limits() {
    let (world, plugin) = pool(2, 3, false);
    plugin.initialize(json!({})).await.unwrap();
    let calls = waiting_calls(&plugin, 6).await;
    assert_eq!(world.made.load(Ordering::SeqCst), 2, "six calls on two instances of three");

    let seventh = Call::new().timeout(Duration::from_millis(20));
    let error = plugin.execute(seventh.clone()).await.unwrap_err();
    assert_eq!((error.code(), error.plugin(), error.call()), (ErrorCode::Timeout, Some("sample"), Some(seventh.id())));

    world.gate.add_permits(6);
    for (_, call) in calls {
        call.await.unwrap().unwrap();
    }
    let stats = plugin.stats().await.unwrap();
    assert_eq!((stats.calls, stats.running, stats.waiting, stats.instances.len()), (6, 0, 0, 2));
}

#[tokio::test]
async fn a_call_can_be_cancelled_while_it_waits_and_while_it_runs() {
    let (_world, plugin) = pool(1, 1, false);
    let mut calls = waiting_calls(&plugin, 1).await;
    let waiting = Call::new();
    let handle = waiting.handle().clone();
    let queued = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { plugin.execute(waiting).await }
    });
    while plugin.stats().await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    handle.cancel();
    assert_eq!(code(queued.await.unwrap()), ErrorCode::Cancelled);

    let (call, running) = calls.pop().unwrap();
    call.handle().cancel();
    assert_eq!(code(running.await.unwrap()), ErrorCode::Cancelled);
    assert_eq!(plugin.stats().await.unwrap().cancelled, 1);
}

#[tokio::test]
async fn a_dead_instance_is_replaced_with_the_same_configuration() {
    let (world, plugin) = pool(1, 1, false);
    plugin.initialize(json!({"a": 1})).await.unwrap();
    assert_eq!(code(plugin.execute(Call::new().method("crash")).await), ErrorCode::Crashed);
    let payload = plugin.execute(Call::new()).await.unwrap();
    assert_eq!(payload.json, json!({"instance": 1, "config": {"a": 1}}));
    tokio::task::yield_now().await;
    let stats = plugin.stats().await.unwrap();
    assert_eq!((stats.restarts, stats.failed, world.closed.load(Ordering::SeqCst)), (1, 1, 1));
}

#[tokio::test]
async fn a_single_use_instance_serves_one_call() {
    let (world, plugin) = pool(1, 1, true);
    plugin.initialize(json!({"a": 1})).await.unwrap();
    for instance in 0..3 {
        let payload = plugin.execute(Call::new()).await.unwrap();
        assert_eq!(payload.json, json!({"instance": instance, "config": {"a": 1}}));
    }
    assert_eq!(world.made.load(Ordering::SeqCst), 3);
    assert_eq!(plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn a_configuration_reaches_all_instances_or_none() {
    let (world, plugin) = pool(2, 1, false);
    plugin.initialize(json!({"n": 1})).await.unwrap();
    let calls = waiting_calls(&plugin, 2).await;
    // It waits for running calls.
    let change = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { plugin.initialize(json!({"n": 2})).await }
    });
    tokio::task::yield_now().await;
    assert!(!change.is_finished());
    world.gate.add_permits(2);
    for (_, call) in calls {
        assert_eq!(call.await.unwrap().unwrap().json["config"], json!({"n": 1}));
    }
    change.await.unwrap().unwrap();

    world.stubborn_from.store(1, Ordering::SeqCst);
    assert_eq!(code(plugin.initialize(json!({"n": 3})).await), ErrorCode::InvalidConfig);
    world.gate.add_permits(2);
    let both = futures_util::future::join_all([0, 1].map(|_| plugin.execute(Call::new().method("wait")))).await;
    for payload in both {
        assert_eq!(payload.unwrap().json["config"], json!({"n": 2}));
    }
    assert_eq!(world.made.load(Ordering::SeqCst), 2, "the one that refused kept the old configuration");
}

#[tokio::test]
async fn a_first_configuration_that_fails_leaves_no_instance() {
    let (world, plugin) = pool(1, 1, false);
    world.stubborn_from.store(0, Ordering::SeqCst);
    plugin.initialize(json!(1)).await.unwrap();
    assert!(plugin.initialize(json!(2)).await.is_err());
    assert_eq!(plugin.execute(Call::new()).await.unwrap().json["config"], json!(1));
}

#[tokio::test]
async fn a_stream_keeps_its_instance_until_it_ends_or_is_dropped() {
    let (_world, plugin) = pool(1, 1, false);
    let mut stream = plugin.execute_stream(Call::new()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().json, 0);
    let soon = || Call::new().timeout(Duration::from_millis(20));
    assert_eq!(code(plugin.execute(soon()).await), ErrorCode::Timeout);
    drop(stream);
    plugin.execute(soon()).await.unwrap();
    let all: Vec<_> = plugin.execute_stream(soon()).await.unwrap().collect().await;
    assert_eq!(all.len(), 3);
    let stats = plugin.stats().await.unwrap();
    assert_eq!((stats.calls, stats.cancelled, stats.running), (3, 1, 0));
}

#[tokio::test]
async fn cleanup_lets_calls_end_then_cancels_them() {
    let (world, plugin) = pool(1, 1, false);
    let mut calls = waiting_calls(&plugin, 1).await;
    plugin.cleanup().await.unwrap();
    let (_, call) = calls.pop().unwrap();
    assert_eq!(code(call.await.unwrap()), ErrorCode::Cancelled);
    assert_eq!(code(plugin.execute(Call::new()).await), ErrorCode::Unavailable);
    assert!(!plugin.is_alive().await);
    plugin.cleanup().await.unwrap();
    assert_eq!(world.closed.load(Ordering::SeqCst), 1);
}
