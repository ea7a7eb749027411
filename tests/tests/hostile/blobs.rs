//! Guests that misuse their capabilities.

use bivium::{Call, ErrorCode};
use serde_json::json;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_blob_handle_leak() {
    let scene = Scene::misbehave(json!({"limits": {"blobs": 200}})).await;
    let blob = scene.manager.exchange().write(b"x", "text/plain").unwrap();
    let call = Call::new().method("leak-handles").blob("blob", blob);
    scene.fails(call, ErrorCode::ResourceExhausted, &["limits.blobs"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_reading_a_dropped_blob() {
    let scene = Scene::misbehave(json!({})).await;
    let blob = scene.manager.exchange().write(b"0123456789", "text/plain").unwrap();
    let call = Call::new().method("read-dropped").blob("blob", blob);
    scene.fails(call, ErrorCode::Crashed, &["handle"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_reading_a_blob_of_an_earlier_call() {
    let scene = Scene::misbehave(json!({})).await;
    let blob = scene.manager.exchange().write(b"0123456789", "text/plain").unwrap();
    let lent = Call::new().method("keep").blob("blob", blob);
    assert_eq!(scene.execute(lent).await.unwrap().json, 10);
    assert_eq!(scene.manager.exchange().usage().blobs, 0, "the guest's handle keeps no file");
    scene.fails_in("read-kept", ErrorCode::Denied, &["a call that has ended"]).await;
    scene.fails_in("return-kept", ErrorCode::Protocol, &["earlier call"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_blob_index_out_of_range() {
    let scene = Scene::misbehave(json!({})).await;
    scene.fails_in("foreign-index", ErrorCode::Protocol, &["blob 3"]).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_blob_over_quota() {
    let scene = Scene::misbehave(json!({"limits": {"blob_mb": 4}})).await;
    scene.fails_in("write-for-ever", ErrorCode::ResourceExhausted, &["limits.blob_mb", "4 MiB"]).await;
    scene.still_serves().await;
    scene.end().await;
}
