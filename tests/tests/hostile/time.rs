//! Guests that never end.

use std::time::Duration;

use bivium::{Call, ErrorCode};
use serde_json::json;

use crate::scene::{Scene, guest};

const SOON: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_busy_loop_meets_the_callers_deadline() {
    let scene = Scene::misbehave(json!({})).await;
    scene.fails(Call::new().method("spin").timeout(SOON), ErrorCode::Timeout, &["deadline"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_busy_loop_meets_its_limits_of_time_and_fuel() {
    for (limits, code, words) in [
        (json!({"call_ms": 100}), ErrorCode::Timeout, ["limits.call_ms", "100 ms"]),
        (json!({"cpu_ms": 100}), ErrorCode::Timeout, ["limits.cpu_ms", "100 ms"]),
        (json!({"fuel": 10_000_000}), ErrorCode::ResourceExhausted, ["limits.fuel", "10000000"]),
    ] {
        let scene = Scene::misbehave(json!({"limits": limits})).await;
        scene.fails_in("spin", code, &words).await;
        scene.still_serves().await;
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_busy_loop_is_cancelled() {
    let scene = Scene::misbehave(json!({})).await;
    let call = Call::new().method("spin");
    let handle = call.handle().clone();
    let cancelled = async {
        let (result, ()) = tokio::join!(scene.execute(call), async {
            // The neighbour's calls give the busy loop time to begin.
            tokio::time::sleep(SOON).await;
            handle.cancel();
        });
        result
    };
    let error = scene.attack(cancelled).await.unwrap_err();
    scene.says(&error, ErrorCode::Cancelled, &[]);
    scene.still_serves().await;
    scene.end().await;
}

/// More busy loops than threads: the runtime then checks its timers rarely.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hostile_many_busy_loops_on_one_thread() {
    let scene = Scene::misbehave(json!({"instances": {"max": 6}})).await;
    let spin = || scene.execute(Call::new().method("spin").timeout(SOON));
    let spins = futures_util::future::join_all((0..6).map(|_| spin()));
    for result in scene.attack(spins).await {
        scene.says(&result.unwrap_err(), ErrorCode::Timeout, &[]);
    }
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_endless_host_calls() {
    let scene = Scene::misbehave(json!({"limits": {"blob_mb": 16_384}})).await;
    let error = scene.attack(scene.execute(Call::new().method("write-for-ever").timeout(SOON))).await.unwrap_err();
    // On a machine with little memory the exchange may be full first.
    assert!(matches!(error.code(), ErrorCode::Timeout | ErrorCode::ResourceExhausted), "{error}");
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_sleep_for_ever() {
    let scene = Scene::of(&guest("probe"), json!({})).await;
    let call = Call::new().method("sleep").named("ns", u64::MAX).timeout(SOON);
    scene.fails(call, ErrorCode::Timeout, &["deadline"]).await;
    let slept = scene.execute(Call::new().method("sleep").named("ns", 1)).await;
    assert!(slept.is_ok(), "{slept:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_poll_spin() {
    let scene = Scene::of(&guest("probe"), json!({"limits": {"call_ms": 200}})).await;
    scene.fails_in("poll-spin", ErrorCode::Timeout, &["limits.call_ms"]).await;
    scene.execute(Call::new().method("now")).await.unwrap();
    scene.end().await;
}
