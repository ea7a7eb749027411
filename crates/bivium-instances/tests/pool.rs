//! How the pool queues, configures, replaces and ends instances, seen through `PluginInterface`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bivium_instances::PoolLimits;
use bivium_interface::{Call, ErrorCode, PluginInterface};
use common::{code, pool, pool_of, waiting_calls};
use futures_util::StreamExt;
use serde_json::json;

#[tokio::test]
async fn callers_share_instances_up_to_the_limits() {
    let (world, plugin) = pool(2, 3, false);
    plugin.initialize(json!({})).await.unwrap();
    let calls = waiting_calls(&plugin, 6).await;
    assert_eq!(world.made.load(Ordering::SeqCst), 2, "six calls on two instances with three places each");

    let seventh = Call::new().timeout(Duration::from_millis(20));
    let id = seventh.id();
    let error = plugin.execute(seventh).await.unwrap_err();
    assert_eq!((error.code(), error.plugin(), error.call()), (ErrorCode::Timeout, Some("sample"), Some(id)));

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
    call.cancel();
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
    // The configuration waits for running calls.
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

#[tokio::test]
async fn a_thread_keeps_to_the_instance_that_it_used_last() {
    let (world, plugin) = pool_of(PoolLimits { instances: 2, thread_affinity: true, ..PoolLimits::default() });
    let mut running = waiting_calls(&plugin, 1).await;
    let (_, first) = running.remove(0);
    let (told, others) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let thread = std::thread::spawn({
        let plugin = Arc::clone(&plugin);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let call = || runtime.block_on(plugin.execute(Call::new())).unwrap().json["instance"].clone();
            told.send(call()).unwrap();
            may_go_on.recv().unwrap();
            [call(), call()]
        }
    });
    let others = others.await.unwrap();
    world.gate.add_permits(1);
    let used_last = first.await.unwrap().unwrap().json["instance"].clone();
    assert_ne!(used_last, others);
    for _ in 0..2 {
        assert_eq!(
            plugin.execute(Call::new()).await.unwrap().json["instance"],
            used_last,
            "though the other is younger"
        );
    }
    go_on.send(()).unwrap();
    assert_eq!(thread.join().unwrap(), [others.clone(), others]);
}
