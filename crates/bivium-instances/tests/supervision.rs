//! How instances are started at the same time, made again after crashes, and stopped when idle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bivium_instances::{Idle, PoolLimits, PooledPlugin, RestartPolicy};
use bivium_interface::{Call, CircuitState, ErrorCode, Payload, PluginInterface, Result, Stats};
use common::{Factory, World, code, pool, pool_of, until, waiting_calls};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

type Plugin = Arc<PooledPlugin<Factory>>;

fn start(plugin: &Plugin, call: Call) -> JoinHandle<Result<Payload>> {
    let plugin = Arc::clone(plugin);
    tokio::spawn(async move { plugin.execute(call).await })
}

async fn stats(plugin: &Plugin) -> Stats {
    plugin.stats().await.unwrap()
}

fn starting(world: &World) -> u32 {
    world.starting.load(SeqCst)
}

#[tokio::test]
async fn starts_run_side_by_side_and_no_more_than_the_waiting_calls_can_use() {
    let (world, plugin) = pool(3, 2, false);
    world.slow.store(true, SeqCst);
    let calls: Vec<_> = (0..3).map(|_| start(&plugin, Call::new())).collect();
    until(async || starting(&world) == 2).await;
    assert_eq!(
        (stats(&plugin).await.starting, world.made.load(SeqCst)),
        (2, 2),
        "three calls need two instances of two places each"
    );
    world.starts.add_permits(2);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((stats(&plugin).await.instances.len(), world.made.load(SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_start_ends_with_the_last_call_that_waits_for_it() {
    let (world, plugin) = pool(1, 2, false);
    world.slow.store(true, SeqCst);
    let (first, second) = (Call::new(), Call::new());
    let handles = [first.handle().clone(), second.handle().clone()];
    let calls = [start(&plugin, first), start(&plugin, second)];
    until(async || starting(&world) == 1 && stats(&plugin).await.starting == 1).await;
    let [first_runs, second_runs] = calls;
    handles[0].cancel();
    assert_eq!(code(first_runs.await.unwrap()), ErrorCode::Cancelled);
    assert_eq!(starting(&world), 1, "another call waits for it");
    handles[1].cancel();
    assert_eq!(code(second_runs.await.unwrap()), ErrorCode::Cancelled);
    assert_eq!((starting(&world), stats(&plugin).await.starting), (0, 0));
    let stats = stats(&plugin).await;
    assert_eq!((stats.crashes, stats.restarts), (0, 0), "nothing has crashed");
}

#[tokio::test]
async fn a_call_takes_a_freed_instance_and_the_slow_start_goes_on_for_the_next_call() {
    let (world, plugin) = pool(2, 1, false);
    let mut calls = waiting_calls(&plugin, 1).await;
    world.slow.store(true, SeqCst);
    let second = start(&plugin, Call::new());
    until(async || starting(&world) == 1).await;
    world.gate.add_permits(1);
    calls.pop().unwrap().1.await.unwrap().unwrap();
    assert_eq!(second.await.unwrap().unwrap().json["instance"], 0, "it did not wait for the second instance");
    assert_eq!(starting(&world), 1);
    world.starts.add_permits(1);
    until(async || stats(&plugin).await.instances.len() == 2).await;
    assert_eq!(world.made.load(SeqCst), 2);

    // A start that goes on without a call ends with the plugin.
    let (world, plugin) = pool(2, 1, false);
    let mut calls = waiting_calls(&plugin, 1).await;
    world.slow.store(true, SeqCst);
    let second = start(&plugin, Call::new());
    until(async || starting(&world) == 1).await;
    world.gate.add_permits(1);
    calls.pop().unwrap().1.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    drop(plugin);
    until(async || starting(&world) == 0).await;
}

#[tokio::test]
async fn a_failed_start_fails_all_calls_that_wait_for_it() {
    let (world, plugin) = pool(1, 3, false);
    world.slow.store(true, SeqCst);
    world.failing.store(true, SeqCst);
    let calls: Vec<_> = (0..3).map(|_| start(&plugin, Call::new())).collect();
    until(async || starting(&world) == 1).await;
    world.starts.add_permits(1);
    for call in calls {
        assert_eq!(code(call.await.unwrap()), ErrorCode::Crashed);
    }
    assert_eq!((world.made.load(SeqCst), stats(&plugin).await.crashes), (1, 1));
}

const POLICY: RestartPolicy = RestartPolicy {
    delay: Duration::from_secs(1),
    open_after: 4,
    open: Duration::from_secs(60),
    longest: Duration::from_secs(600),
    jitter: 0,
};

/// How long the call took and how it ended.
async fn timed(plugin: &Plugin, method: &'static str) -> (Duration, Result<Payload>) {
    let began = Instant::now();
    let result = plugin.execute(Call::new().method(method)).await;
    (began.elapsed(), result)
}

#[tokio::test(start_paused = true)]
async fn crashes_in_a_row_are_followed_at_a_slower_pace_until_the_circuit_opens() {
    let (_world, plugin) = pool_of(PoolLimits { restart: POLICY, ..PoolLimits::default() });
    plugin.initialize(json!({"kept": true})).await.unwrap();
    for seconds in [0, 0, 1, 2] {
        let (took, result) = timed(&plugin, "crash").await;
        assert_eq!((took.as_secs(), code(result)), (seconds, ErrorCode::Crashed));
    }
    let (took, result) = timed(&plugin, "crash").await;
    let error = result.unwrap_err();
    assert_eq!((took, error.code()), (Duration::ZERO, ErrorCode::Unavailable), "nobody waits for an open circuit");
    assert!(error.message().contains("4 times in a row; the next try is in 60.0 s"), "{error}");
    assert!(error.help().unwrap().contains("killed by a signal"), "{error}");
    let now = stats(&plugin).await;
    assert_eq!((now.circuit, now.next_try_s, now.crashes, now.restarts), (CircuitState::Open, Some(60.0), 4, 4));
    assert_eq!(now.last_crash.unwrap().error.code(), ErrorCode::Crashed);

    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(stats(&plugin).await.circuit, CircuitState::HalfOpen);
    let (_, result) = timed(&plugin, "crash").await;
    assert_eq!(code(result), ErrorCode::Crashed);
    assert_eq!(stats(&plugin).await.next_try_s, Some(120.0), "the second time is twice as long");

    tokio::time::advance(Duration::from_secs(121)).await;
    let (_, result) = timed(&plugin, "execute").await;
    assert_eq!(result.unwrap().json["config"], json!({"kept": true}), "the configuration was applied again");
    assert_eq!(stats(&plugin).await.circuit, CircuitState::Closed);
    let (took, _) = timed(&plugin, "crash").await;
    let (again, result) = timed(&plugin, "execute").await;
    assert!(result.is_ok() && (took, again) == (Duration::ZERO, Duration::ZERO), "one crash alone costs no time");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_a_restart_is_delayed() {
    let (world, plugin) = pool_of(PoolLimits { restart: POLICY, ..PoolLimits::default() });
    world.failing.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(code(plugin.execute(Call::new()).await), ErrorCode::Crashed);
    }
    let call = Call::new().timeout(Duration::from_millis(500));
    assert_eq!(code(plugin.execute(call).await), ErrorCode::Timeout);
    assert_eq!(world.made.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_trap_costs_an_instance_and_no_delay() {
    let (world, plugin) = pool_of(PoolLimits { restart: POLICY, ..PoolLimits::default() });
    for _ in 0..20 {
        let (took, result) = timed(&plugin, "trap").await;
        assert_eq!((took, code(result)), (Duration::ZERO, ErrorCode::Crashed));
    }
    let stats = stats(&plugin).await;
    assert_eq!((world.made.load(SeqCst), stats.restarts, stats.crashes), (20, 20, 0));
}

#[tokio::test(start_paused = true)]
async fn live_instances_serve_while_another_cannot_be_made() {
    let (world, plugin) = pool_of(PoolLimits { instances: 2, restart: POLICY, ..PoolLimits::default() });
    let mut calls = waiting_calls(&plugin, 1).await;
    world.failing.store(true, SeqCst);
    for _ in 0..4 {
        assert_eq!(code(plugin.execute(Call::new()).await), ErrorCode::Crashed);
    }
    assert_eq!(stats(&plugin).await.circuit, CircuitState::Open);
    let waits = start(&plugin, Call::new());
    tokio::task::yield_now().await;
    assert!(!waits.is_finished(), "it is not refused, since another instance lives");
    world.gate.add_permits(1);
    calls.pop().unwrap().1.await.unwrap().unwrap();
    assert_eq!(waits.await.unwrap().unwrap().json["instance"], 0);
    assert_eq!(stats(&plugin).await.circuit, CircuitState::Open, "that says nothing about a new instance");
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_there_is_one_attempt_at_a_time() {
    let (world, plugin) = pool_of(PoolLimits { instances: 3, restart: POLICY, ..PoolLimits::default() });
    world.failing.store(true, SeqCst);
    assert_eq!(code(plugin.execute(Call::new()).await), ErrorCode::Crashed);
    world.failing.store(false, SeqCst);
    world.slow.store(true, SeqCst);
    let calls: Vec<_> = (0..3).map(|_| start(&plugin, Call::new())).collect();
    until(async || starting(&world) == 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(starting(&world), 1);
    world.starts.add_permits(3);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_configures_a_crashed_plugin_closes_the_circuit() {
    let (world, plugin) = pool_of(PoolLimits { restart: POLICY, ..PoolLimits::default() });
    world.failing.store(true, SeqCst);
    while stats(&plugin).await.circuit != CircuitState::Open {
        assert!(plugin.execute(Call::new()).await.is_err());
    }
    assert_eq!(code(plugin.initialize(json!({})).await), ErrorCode::Crashed, "it is tried at once");
    assert_eq!(stats(&plugin).await.circuit, CircuitState::Open);
    world.failing.store(false, SeqCst);
    plugin.initialize(json!({})).await.unwrap();
    assert_eq!(stats(&plugin).await.circuit, CircuitState::Closed);
    plugin.execute(Call::new()).await.unwrap();
}

fn idle(instances: u32, keep: u32) -> PoolLimits {
    let idle = Some(Idle { after: Duration::from_secs(10), keep });
    PoolLimits { instances, idle, ..PoolLimits::default() }
}

#[tokio::test(start_paused = true)]
async fn idle_instances_are_stopped_and_made_again_with_the_configuration() {
    let (world, plugin) = pool_of(idle(1, 0));
    plugin.initialize(json!({"kept": true})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    plugin.execute(Call::new()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    let one = stats(&plugin).await.instances.remove(0);
    assert_eq!((world.closed.load(SeqCst), one.idle_s), (0, Some(9.0)), "a call begins the time anew");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let now = stats(&plugin).await;
    assert_eq!((now.instances.len(), now.idle_stops, now.restarts, world.closed.load(SeqCst)), (0, 1, 0, 1));

    let payload = plugin.execute(Call::new()).await.unwrap();
    assert_eq!(payload.json, json!({"instance": 1, "config": {"kept": true}}));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(stats(&plugin).await.idle_stops, 2);
}

#[tokio::test(start_paused = true)]
async fn busy_instances_are_not_idle_and_some_are_kept() {
    let (world, plugin) = pool_of(idle(3, 1));
    let mut calls = waiting_calls(&plugin, 3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stats(&plugin).await.instances.len(), 3);
    world.gate.add_permits(2);
    until(async || stats(&plugin).await.running == 1).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(stats(&plugin).await.instances.len(), 1, "the busy one is the one that is kept");
    world.gate.add_permits(1);
    for (_, call) in calls.drain(..) {
        call.await.unwrap().unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((stats(&plugin).await.instances.len(), world.closed.load(SeqCst)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_idle_instance_has_ended_before_another_is_made() {
    let (world, plugin) = pool_of(idle(1, 0));
    plugin.execute(Call::new()).await.unwrap();
    world.slow_close.store(true, SeqCst);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let call = start(&plugin, Call::new());
    let change = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { plugin.initialize(json!({"new": true})).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished() && !change.is_finished() && world.made.load(SeqCst) == 1);
    world.closes.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap().json["instance"], 1);
    change.await.unwrap().unwrap();
    assert_eq!(world.closed.load(SeqCst), 1);
}

#[tokio::test]
async fn a_call_too_many_is_refused() {
    let (world, plugin) = pool_of(PoolLimits { queue: 1, ..PoolLimits::default() });
    let mut calls = waiting_calls(&plugin, 1).await;
    let waits = start(&plugin, Call::new());
    until(async || stats(&plugin).await.waiting == 1).await;
    let error = plugin.execute(Call::new()).await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::ResourceExhausted, Some("sample")));
    world.gate.add_permits(1);
    calls.pop().unwrap().1.await.unwrap().unwrap();
    waits.await.unwrap().unwrap();
}
