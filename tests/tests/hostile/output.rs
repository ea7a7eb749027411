//! Guests that write without a limit.

use bivium::{Call, ErrorCode, LogSource};
use serde_json::json;

use crate::scene::{Scene, guest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_a_million_log_lines() {
    let scene = Scene::misbehave(json!({"limits": {"log_records": 100}})).await;
    let flood = scene.execute(Call::new().method("flood-log").named("records", 1_000_000));
    scene.attack(flood).await.unwrap();
    let records = scene.manager.logs("attacker", usize::MAX).unwrap();
    let told =
        records.iter().find(|record| record.source == LogSource::Host && record.message.contains("were dropped"));
    assert!(told.is_some_and(|record| record.message.contains("limits.log_records")), "the flood is reported");
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_a_payload_that_is_not_json() {
    let scene = Scene::misbehave(json!({})).await;
    scene.fails_in("not-json", ErrorCode::Protocol, &["not valid JSON"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_stdout_flood() {
    let scene = Scene::of(&guest("probe"), json!({"limits": {"log_records": 100}})).await;
    scene.attack(scene.execute(Call::new().method("print").named("lines", 200_000))).await.unwrap();
    let records = scene.manager.logs("attacker", usize::MAX).unwrap();
    assert!(records.iter().any(|record| record.source == LogSource::Stdout));
    assert!(records.iter().any(|record| record.message.contains("were dropped")), "the flood is reported");
    scene.end().await;
}
