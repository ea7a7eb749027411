//! A plugin that misbehaves: every call ends with its code, and the next one is served.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::time::{Duration, Instant};

use bivium_interface::{Call, ErrorCode, LogSource, Payload, PluginError, PluginInterface};
use bivium_wasm::{WasmConfig, WasmEngine};
use common::{Loaded, guest, load, says, try_load};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// Long enough for a busy machine; a guest that is not stopped never ends.
const STOPPED: Duration = Duration::from_secs(20);

struct Misbehave(Loaded);

impl Misbehave {
    async fn new(manifest: Value) -> Self {
        let loaded = load("misbehave", manifest).await;
        loaded.plugin.initialize(json!({})).await.unwrap();
        Self(loaded)
    }

    async fn call(&self, method: &'static str) -> Result<Payload, PluginError> {
        self.run(Call::new().method(method)).await
    }

    async fn run(&self, call: Call) -> Result<Payload, PluginError> {
        tokio::time::timeout(STOPPED, self.0.plugin.execute(call)).await.expect("the guest is not stopped")
    }

    async fn fails(&self, method: &'static str, code: ErrorCode) -> PluginError {
        let error = self.call(method).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(error.plugin(), Some("p"));
        error
    }

    /// The next call is served, by another instance if the last one ended.
    async fn serves(&self, restarts: u64) {
        let call = Call::new().method("echo").named("a", 1);
        assert_eq!(self.run(call).await.unwrap().json, json!({"a": 1}));
        assert_eq!(self.0.plugin.stats().await.unwrap().restarts, restarts);
    }
}

#[tokio::test]
async fn a_trap_is_told_with_its_backtrace_and_ends_one_instance() {
    let plugin = Misbehave::new(json!({})).await;
    let error = plugin.fails("trap", ErrorCode::Crashed).await;
    says(&error, &["unreachable"]);
    let traceback = &error.failure().unwrap().traceback;
    assert!(traceback.contains("guest@0.1.0#execute"), "{traceback}");
    assert!(error.call().is_some());
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_panic_is_told_by_its_last_words() {
    let plugin = Misbehave::new(json!({})).await;
    let error = plugin.fails("panic", ErrorCode::Crashed).await;
    assert!(error.message().contains("as it was asked to"), "{error}");
    plugin.serves(1).await;
}

#[tokio::test]
async fn endless_recursion_crashes() {
    let plugin = Misbehave::new(json!({})).await;
    // A Rust guest runs out of its own stack, in its memory, before it runs out of the host's.
    says(&plugin.fails("recurse", ErrorCode::Crashed).await, &["trapped"]);
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_memory_bomb_meets_its_limit() {
    let plugin = Misbehave::new(json!({"limits": {"memory_mb": 16}})).await;
    says(&plugin.fails("memory-bomb", ErrorCode::ResourceExhausted).await, &["limits.memory_mb", "16 MiB"]);
    plugin.serves(1).await;
    let memory = plugin.0.plugin.stats().await.unwrap().memory_bytes();
    assert!(memory > 0 && memory <= 16 << 20, "{memory}");
}

#[tokio::test]
async fn an_engine_without_pools_serves_as_well() {
    let engine = WasmEngine::new(WasmConfig::new().pooling(false)).unwrap();
    let loaded = try_load(&engine, &guest("misbehave"), json!({"limits": {"memory_mb": 16}})).await.unwrap();
    let plugin = Misbehave(loaded);
    plugin.0.plugin.initialize(json!({})).await.unwrap();
    plugin.fails("memory-bomb", ErrorCode::ResourceExhausted).await;
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_refused_growth_that_the_plugin_survives_is_no_error() {
    let plugin = Misbehave::new(json!({"limits": {"memory_mb": 16}})).await;
    assert_eq!(plugin.call("ask-for-too-much-memory").await.unwrap().json, json!(true));
    says(&plugin.fails("trap", ErrorCode::Crashed).await, &["unreachable"]);
}

#[tokio::test]
async fn memory_below_what_the_component_starts_with_is_told() {
    let loaded = load("misbehave", json!({"limits": {"memory_mb": 1}})).await;
    let error = loaded.plugin.initialize(json!({})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["limits.memory_mb"]);
}

#[tokio::test]
async fn a_busy_loop_meets_the_callers_deadline() {
    let plugin = Misbehave::new(json!({})).await;
    let call = Call::new().method("spin").timeout(Duration::from_millis(100));
    assert_eq!(plugin.run(call).await.unwrap_err().code(), ErrorCode::Timeout);
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_busy_loop_meets_the_manifests_limit() {
    let plugin = Misbehave::new(json!({"limits": {"call_ms": 100}})).await;
    says(&plugin.fails("spin", ErrorCode::Timeout).await, &["limits.call_ms", "100 ms"]);
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_guest_in_host_calls_meets_its_deadline() {
    let plugin = Misbehave::new(json!({})).await;
    let call = Call::new().method("write-for-ever").timeout(Duration::from_millis(100));
    let error = plugin.run(call).await.unwrap_err();
    // A slow disk may not take so much in that time; a fast one may meet the limit first.
    assert!(matches!(error.code(), ErrorCode::Timeout | ErrorCode::ResourceExhausted), "{error}");
    plugin.serves(u64::from(error.code() == ErrorCode::Timeout)).await;
    // A write on another thread ends now.
    let all_gone = async {
        while plugin.0.exchange.usage().blobs > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(STOPPED, all_gone).await.expect("a blob is left");
}

#[tokio::test]
async fn a_cancelled_busy_loop_is_stopped_and_a_cooperative_one_keeps_its_instance() {
    let plugin = Misbehave::new(json!({})).await;
    for (method, restarts) in [("spin-until-cancelled", 0), ("spin", 1)] {
        let call = Call::new().method(method);
        let handle = call.handle().clone();
        let (result, ()) = tokio::join!(plugin.run(call), async {
            // The guest is running by now: the other branch was polled first.
            tokio::task::yield_now().await;
            handle.cancel();
        });
        assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled, "{method}");
        plugin.serves(restarts).await;
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_stopped() {
    let plugin = Misbehave::new(json!({})).await;
    let call = plugin.0.plugin.execute(Call::new().method("spin"));
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_spinner_leaves_the_thread_to_others() {
    let plugin = Misbehave::new(json!({})).await;
    let good = load("echo", json!({})).await;
    good.plugin.initialize(json!({})).await.unwrap();
    let call = Call::new().method("spin");
    let handle = call.handle().clone();
    // One thread: the calls below only get on because the spinner yields.
    let (spun, ()) = tokio::join!(plugin.run(call), async {
        for n in 0..50 {
            let result = good.plugin.execute(Call::new().named("text", n.to_string())).await.unwrap();
            assert_eq!(result.json["text"], n.to_string());
            tokio::task::yield_now().await;
        }
        handle.cancel();
    });
    assert_eq!(spun.unwrap_err().code(), ErrorCode::Cancelled);
}

#[tokio::test]
async fn what_a_plugin_says_wrong_is_its_error_and_the_instance_lives() {
    let plugin = Misbehave::new(json!({"limits": {"payload_mb": 1}})).await;
    says(&plugin.fails("not-json", ErrorCode::Protocol).await, &["not valid JSON"]);
    says(&plugin.fails("foreign-index", ErrorCode::Protocol).await, &["blob 3"]);
    let error = plugin.fails("fail", ErrorCode::PluginFailed).await;
    assert_eq!(error.failure().unwrap().traceback, "at home");
    let error = plugin.run(Call::new().method("huge-result").named("megabytes", 2)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    says(&error, &["limits.payload_mb"]);
    plugin.fails("no-such-method", ErrorCode::NotFound).await;
    plugin.serves(0).await;
}

#[tokio::test]
async fn a_result_that_the_host_does_not_even_take_in_is_told() {
    let plugin = Misbehave::new(json!({"limits": {"memory_mb": 1024}})).await;
    let error = plugin.run(Call::new().method("huge-result").named("megabytes", 200)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_lent_blob_ends_with_its_call() {
    let plugin = Misbehave::new(json!({})).await;
    let blob = plugin.0.exchange.write(b"0123456789", "text/plain").unwrap();
    let lent = || Call::new().method("keep").blob("blob", blob.clone());
    assert_eq!(plugin.run(lent()).await.unwrap().json, json!(10));
    plugin.fails("read-kept", ErrorCode::Denied).await;
    says(&plugin.fails("return-kept", ErrorCode::Protocol).await, &["earlier call"]);
    plugin.run(lent()).await.unwrap();
    drop(blob);
    assert_eq!(plugin.0.exchange.usage().blobs, 0, "the guest's handle keeps no file");
    plugin.serves(0).await;
}

#[tokio::test]
async fn leaked_handles_meet_their_limit() {
    let plugin = Misbehave::new(json!({})).await;
    let blob = plugin.0.exchange.write(b"x", "text/plain").unwrap();
    let error = plugin.run(Call::new().method("leak-handles").blob("blob", blob)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    plugin.serves(1).await;
    assert_eq!(plugin.0.exchange.usage().blobs, 0);
}

#[tokio::test]
async fn a_flood_of_logs_is_cut() {
    let plugin = Misbehave::new(json!({})).await;
    let started = Instant::now();
    plugin.run(Call::new().method("flood-log").named("records", 100_000)).await.unwrap();
    let dropped = plugin.0.log.tail(usize::MAX).into_iter().filter(|record| record.source == LogSource::Host);
    assert!(dropped.count() > 0, "the flood took {:?}", started.elapsed());
    plugin.call("huge-log").await.unwrap();
    assert!(plugin.0.log.tail(usize::MAX).iter().all(|record| record.message.len() <= 16 << 10));
}

#[tokio::test]
async fn progress_is_brought_in_range_and_the_context_is_the_calls() {
    let plugin = Misbehave::new(json!({})).await;
    let call = Call::new().method("wild-progress");
    let progress = call.handle().progress();
    plugin.run(call).await.unwrap();
    assert_eq!(progress.borrow().fraction, Some(1.0));
    assert!(progress.borrow().message.len() <= 1024);

    let call = Call::new().method("context").timeout(Duration::from_secs(1000));
    let id = call.id().to_string();
    let context = plugin.run(call).await.unwrap().json;
    assert_eq!(context["call"], id);
    let remaining = context["remaining"].as_u64().unwrap();
    assert!(remaining > 900_000 && remaining <= 1_000_000, "{remaining}");
    assert_eq!(plugin.call("context").await.unwrap().json["remaining"], Value::Null);
}

#[tokio::test]
async fn a_bad_configuration_and_one_that_crashes() {
    let plugin = Misbehave::new(json!({"limits": {"call_ms": 200}})).await;
    for (config, code) in [
        (json!({"bad": true}), ErrorCode::InvalidConfig),
        (json!({"initialize": "trap"}), ErrorCode::Crashed),
        (json!({"initialize": "spin"}), ErrorCode::Timeout),
    ] {
        let error = plugin.0.plugin.initialize(config).await.unwrap_err();
        assert_eq!((error.code(), error.plugin()), (code, Some("p")), "{error}");
        assert_eq!(plugin.call("echo").await.unwrap().json, json!({}));
        assert_eq!(plugin.0.plugin.current_config().await.unwrap(), json!({}));
    }
    plugin.0.plugin.initialize(json!({"current-config": "not-json"})).await.unwrap();
    assert_eq!(plugin.0.plugin.current_config().await.unwrap_err().code(), ErrorCode::Protocol);
}

#[tokio::test]
async fn cleanup_ends_whatever_the_plugin_does_in_it() {
    for what in ["", "trap", "spin"] {
        let plugin = Misbehave::new(json!({"limits": {"call_ms": 200}})).await;
        plugin.0.plugin.initialize(json!({"cleanup": what})).await.unwrap();
        tokio::time::timeout(STOPPED, plugin.0.plugin.cleanup()).await.unwrap().unwrap();
        assert!(plugin.0.log.tail(5).iter().any(|record| record.message == "cleaning up"), "{what}");
        assert_eq!(plugin.call("echo").await.unwrap_err().code(), ErrorCode::Unavailable);
    }
}

/// All items of a stream, and how it ends.
async fn drain(plugin: &Misbehave, call: Call) -> (Vec<Value>, Option<PluginError>) {
    let mut stream = plugin.0.plugin.execute_stream(call).await.unwrap();
    let mut items = Vec::new();
    while let Some(item) = tokio::time::timeout(STOPPED, stream.next()).await.expect("the stream is not stopped") {
        match item {
            Ok(payload) => items.push(payload.json),
            Err(error) => {
                assert!(stream.next().await.is_none(), "the first error ends a stream");
                return (items, Some(error));
            }
        }
    }
    (items, None)
}

#[tokio::test]
async fn a_stream_that_goes_wrong_gives_what_came_before() {
    let plugin = Misbehave::new(json!({"limits": {"call_ms": 1000}})).await;
    for (method, code, dies) in [
        ("trap", ErrorCode::Crashed, true),
        ("panic", ErrorCode::Crashed, true),
        ("spin", ErrorCode::Timeout, true),
        ("fail", ErrorCode::Unavailable, false),
        ("not-json", ErrorCode::Protocol, false),
    ] {
        let restarts = plugin.0.plugin.stats().await.unwrap().restarts;
        let (items, error) = drain(&plugin, Call::new().method(method)).await;
        assert_eq!(items, [json!(1), json!(2)], "{method}");
        let error = error.unwrap();
        assert_eq!((error.code(), error.plugin()), (code, Some("p")), "{error}");
        plugin.serves(restarts + u64::from(dies)).await;
    }
}

#[tokio::test]
async fn a_stream_that_goes_wrong_at_its_start_or_its_end() {
    let plugin = Misbehave::new(json!({"limits": {"call_ms": 200}})).await;
    let error = plugin.0.plugin.execute_stream(Call::new().method("spin-at-start")).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Timeout);
    let error = plugin.0.plugin.execute_stream(Call::new().method("nonsense")).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::NotFound);
    plugin.serves(1).await;
    for method in ["trap-at-drop", "spin-at-drop"] {
        let (items, error) = drain(&plugin, Call::new().method(method)).await;
        assert!(items.len() == 2 && error.is_none(), "the reader has all that there was: {error:?}");
    }
    plugin.serves(3).await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_between_results_keeps_the_instance() {
    let plugin = Misbehave::new(json!({})).await;
    for n in 1..=3 {
        let mut stream = plugin.0.plugin.execute_stream(Call::new().method("for-ever")).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().json, json!(1));
        drop(stream);
        // The next call waits until the guest has dropped the stream.
        assert_eq!(plugin.call("drops").await.unwrap().json, json!(n));
    }
    assert_eq!(plugin.0.plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn a_stream_that_is_dropped_in_the_middle_of_a_result_ends_the_instance() {
    let plugin = Misbehave::new(json!({})).await;
    let mut stream = plugin.0.plugin.execute_stream(Call::new().method("spin")).await.unwrap();
    for n in 1..=2 {
        assert_eq!(stream.next().await.unwrap().unwrap().json, json!(n));
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), stream.next()).await.is_err());
    drop(stream);
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_cancelled_stream_ends_without_entering_the_guest_again() {
    let plugin = Misbehave::new(json!({})).await;
    let call = Call::new().method("for-ever");
    let handle = call.handle().clone();
    let mut stream = plugin.0.plugin.execute_stream(call).await.unwrap();
    stream.next().await.unwrap().unwrap();
    handle.cancel();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
    assert!(stream.next().await.is_none());
    assert_eq!(plugin.call("drops").await.unwrap().json, json!(1));
}

#[tokio::test]
async fn a_slow_readers_pauses_are_not_the_plugins_time() {
    let plugin = Misbehave::new(json!({"limits": {"call_ms": 500}})).await;
    let mut stream = plugin.0.plugin.execute_stream(Call::new().method("end")).await.unwrap();
    let paused = Instant::now();
    while let Some(item) = stream.next().await {
        item.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(paused.elapsed() > Duration::from_millis(500));
}

#[tokio::test]
async fn a_busy_loop_uses_up_its_processor_time() {
    let plugin = Misbehave::new(json!({"limits": {"cpu_ms": 50}})).await;
    says(&plugin.fails("spin", ErrorCode::Timeout).await, &["limits.cpu_ms", "50 ms"]);
    plugin.serves(1).await;
}

#[tokio::test]
async fn a_busy_loop_uses_up_its_fuel_and_each_call_has_its_own() {
    let plugin = Misbehave::new(json!({"limits": {"fuel": 10_000_000}})).await;
    for _ in 0..3 {
        plugin.serves(0).await;
    }
    says(&plugin.fails("spin", ErrorCode::ResourceExhausted).await, &["limits.fuel", "10000000"]);
    plugin.serves(1).await;
}

/// All threads are busy with guests that never end, so the runtime rarely checks its timers.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_busy_loops_on_one_thread_meet_their_deadlines_and_let_others_run() {
    let spinners = Misbehave::new(json!({"instances": {"max": 8}})).await;
    let neighbour = Misbehave::new(json!({})).await;
    let deadline = Duration::from_millis(300);
    let spins =
        futures_util::future::join_all((0..8).map(|_| spinners.run(Call::new().method("spin").timeout(deadline))));
    let serves = async {
        for _ in 0..20 {
            neighbour.serves(0).await;
        }
    };
    let begun = Instant::now();
    let (ends, ()) = tokio::join!(spins, serves);
    for end in ends {
        assert_eq!(end.unwrap_err().code(), ErrorCode::Timeout);
    }
    assert!(begun.elapsed() < STOPPED);
}
