//! Guests that crash.

use bivium::ErrorCode;
use serde_json::json;

use crate::scene::{Scene, guest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_trap_in_initialize() {
    let scene = Scene::misbehave(json!({})).await;
    let error = scene.attack(scene.manager.update_config("attacker", json!({"initialize": "trap"}))).await.unwrap_err();
    scene.says(&error, ErrorCode::Crashed, &["trapped"]);
    // With the previous configuration.
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_trap_in_execute() {
    let scene = Scene::misbehave(json!({})).await;
    let error = scene.fails_in("trap", ErrorCode::Crashed, &["unreachable"]).await;
    assert!(error.failure().is_some_and(|failure| !failure.traceback.is_empty()));
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_panic() {
    let scene = Scene::misbehave(json!({})).await;
    scene.fails_in("panic", ErrorCode::Crashed, &["as it was asked to"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_trap_in_cleanup() {
    for what in ["trap", "spin"] {
        let scene = Scene::misbehave(json!({"limits": {"call_ms": 200}})).await;
        scene.manager.update_config("attacker", json!({"cleanup": what})).await.unwrap();
        scene.attack(scene.manager.unload("attacker")).await.unwrap();
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_proc_exit() {
    let scene = Scene::of(&guest("probe"), json!({})).await;
    scene.fails_in("exit", ErrorCode::Crashed, &["called exit(1)"]).await;
    scene.execute(bivium::Call::new().method("now")).await.unwrap();
    scene.end().await;
}
