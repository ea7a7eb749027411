//! More plugins than an engine has capacity for: calls wait for their own plugin's instance or for capacity, under their deadlines,
//! and all of them end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bivium_interface::{Call, CircuitState, ErrorCode, PluginInterface, Stats};
use bivium_wasm::{WasmConfig, WasmEngine};
use common::{Loaded, guest, says, try_load};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Long enough for a busy machine; a call that waits for something that never happens would not end.
const LONG: Duration = Duration::from_secs(60);

/// An engine for this many instances, and plugins on it. Compiled once.
struct House {
    engine: WasmEngine,
    _cache: tempfile::TempDir,
}

impl House {
    fn new(instances: u32, pooling: bool) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let config = WasmConfig::new().instances(instances).pooling(pooling).cache_dir(cache.path());
        let engine = WasmEngine::new(config).unwrap();
        assert_eq!(engine.is_pooling(), pooling);
        Self { engine, _cache: cache }
    }

    async fn plugin(&self, more: Value) -> Loaded {
        let loaded = try_load(&self.engine, &guest("misbehave"), more).await.unwrap();
        tokio::time::timeout(LONG, loaded.plugin.initialize(json!({})))
            .await
            .expect("no capacity becomes free")
            .unwrap();
        loaded
    }
}

fn call(method: &'static str) -> Call {
    Call::new().method(method).timeout(LONG)
}

async fn stats(loaded: &Loaded) -> Stats {
    let stats = loaded.plugin.stats().await.unwrap();
    assert_eq!((stats.crashes, stats.circuit), (0, CircuitState::Closed), "waiting for capacity is not a crash");
    stats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_plugins_share_few_places_and_every_call_ends_well() {
    for pooling in [true, false] {
        let house = House::new(3, pooling);
        let mut plugins = Vec::new();
        for n in 0..9 {
            let isolation = if n == 8 { "call" } else { "instance" };
            plugins.push(house.plugin(json!({"instances": {"max": 2}, "isolation": isolation})).await);
        }
        assert!(house.engine.instances() <= 3, "{}", house.engine.instances());
        let calls = (0..20).flat_map(|n| plugins.iter().map(move |loaded| (n, loaded)));
        let results = calls.map(|(n, loaded)| async move {
            let result = loaded.plugin.execute(call("echo").named("n", n)).await;
            assert_eq!(result.unwrap().json, json!({"n": n}));
        });
        join_all(results).await;
        assert!(house.engine.instances() <= 3, "{}", house.engine.instances());
        for loaded in &plugins {
            let stats = stats(loaded).await;
            assert_eq!((stats.calls, stats.failed, stats.restarts), (20, 0, 0));
        }
    }
}

#[tokio::test]
async fn a_call_that_waits_for_room_meets_its_deadline_and_its_cancel() {
    for pooling in [true, false] {
        let house = House::new(1, pooling);
        // Its instance is stopped for the second plugin.
        let waiting = house.plugin(json!({})).await;
        let busy = house.plugin(json!({})).await;
        let spin = call("spin");
        let end = spin.handle().clone();
        let tests = async {
            for stream in [false, true] {
                let call = Call::new().method("echo").timeout(Duration::from_millis(100));
                let error = match stream {
                    true => waiting.plugin.execute_stream(call).await.err().unwrap(),
                    false => waiting.plugin.execute(call).await.unwrap_err(),
                };
                assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
                says(&error, &["all of its 1 component instances are in use", "WasmConfig::instances"]);
            }
            let cancelled = call("echo");
            let handle = cancelled.handle().clone();
            let (result, ()) = tokio::join!(waiting.plugin.execute(cancelled), async {
                tokio::task::yield_now().await;
                handle.cancel();
            });
            assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled);
            end.cancel();
            waiting.plugin.execute(call("echo")).await.unwrap();
        };
        let (spun, ()) = tokio::join!(busy.plugin.execute(spin), tests);
        assert_eq!(spun.unwrap_err().code(), ErrorCode::Cancelled);
        assert_eq!(stats(&waiting).await.idle_stops, 1);
        stats(&busy).await;
    }
}

#[tokio::test]
async fn a_call_takes_its_own_plugins_instance_where_that_is_free_first() {
    let house = House::new(1, true);
    let loaded = house.plugin(json!({"instances": {"max": 2}})).await;
    let mut stream = loaded.plugin.execute_stream(call("for-ever")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let waits = loaded.plugin.execute(call("echo"));
    let ends = async {
        tokio::task::yield_now().await;
        drop(stream);
    };
    let (result, ()) = tokio::join!(waits, ends);
    result.unwrap();
    let stats = stats(&loaded).await;
    assert_eq!((stats.restarts, stats.instances.len()), (0, 1));
}

#[tokio::test]
async fn the_instance_that_was_idle_for_longest_goes() {
    let house = House::new(2, true);
    let first = house.plugin(json!({})).await;
    let second = house.plugin(json!({})).await;
    first.plugin.execute(call("echo")).await.unwrap();
    let third = house.plugin(json!({})).await;
    assert_eq!([stats(&first).await.idle_stops, stats(&second).await.idle_stops], [0, 1]);
    // A call makes it again, with its configuration.
    second.plugin.execute(call("echo")).await.unwrap();
    assert_eq!([stats(&first).await.idle_stops, stats(&third).await.idle_stops], [1, 0]);
}

/// A plugin with calls all the time gives its instance up in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_always_busy_does_not_keep_others_out() {
    let house = House::new(1, true);
    let (busy, other) = (house.plugin(json!({})).await, house.plugin(json!({})).await);
    let enough = Arc::new(AtomicBool::new(false));
    let flood = || async {
        while !enough.load(Ordering::Relaxed) {
            busy.plugin.execute(call("echo")).await.unwrap();
        }
    };
    let others = async {
        for _ in 0..5 {
            other.plugin.execute(call("echo")).await.unwrap();
        }
        enough.store(true, Ordering::Relaxed);
    };
    tokio::join!(flood(), flood(), flood(), others);
    stats(&busy).await;
    stats(&other).await;
}

#[tokio::test]
async fn a_question_waits_for_room_too() {
    let house = House::new(1, true);
    let asked = house.plugin(json!({})).await;
    let busy = house.plugin(json!({})).await;
    let spin = call("spin");
    let end = spin.handle().clone();
    let questions = async {
        let asks = asked.plugin.methods();
        let ends = async {
            tokio::task::yield_now().await;
            end.cancel();
        };
        let (methods, ()) = tokio::join!(asks, ends);
        assert!(!methods.unwrap().is_empty());
    };
    let (_, ()) = tokio::join!(busy.plugin.execute(spin), questions);
    stats(&asked).await;
}
