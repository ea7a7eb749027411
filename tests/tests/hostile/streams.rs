//! Streams that spin, trap or never end.

use std::time::Duration;

use bivium::{Call, ErrorCode};
use futures_util::StreamExt;
use serde_json::json;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_busy_loop_in_a_stream() {
    let scene = Scene::misbehave(json!({"limits": {"call_ms": 200}})).await;
    let (items, error) = scene.attack(scene.drain(Call::new().method("spin"))).await;
    assert_eq!(items, [1, 2], "what came before is not lost");
    scene.says(&error.unwrap(), ErrorCode::Timeout, &["limits.call_ms"]);
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_never_ending_stream_meets_the_deadline() {
    let scene = Scene::misbehave(json!({})).await;
    let call = Call::new().method("for-ever").timeout(Duration::from_millis(200));
    let (items, error) = scene.attack(scene.drain(call)).await;
    assert!(items.len() > 2);
    scene.says(&error.unwrap(), ErrorCode::Timeout, &["deadline"]);
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_never_ending_stream_is_dropped_by_its_reader() {
    let scene = Scene::misbehave(json!({})).await;
    let read = async {
        let mut stream = scene.manager.execute_stream("attacker", Call::new().method("for-ever")).await.unwrap();
        for _ in 0..50 {
            stream.next().await.unwrap().unwrap();
        }
    };
    scene.attack(read).await;
    // Served by the same instance: the guest has dropped the stream.
    let drops = scene.execute(Call::new().method("drops")).await.unwrap();
    assert_eq!(drops.json, 1);
    assert_eq!(scene.manager.stats("attacker").await.unwrap().restarts, 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_trap_in_a_stream() {
    let scene = Scene::misbehave(json!({})).await;
    for method in ["trap", "panic"] {
        let (items, error) = scene.attack(scene.drain(Call::new().method(method))).await;
        assert_eq!(items, [1, 2], "what came before is not lost");
        scene.says(&error.unwrap(), ErrorCode::Crashed, &[]);
        scene.still_serves().await;
    }
    scene.end().await;
}
