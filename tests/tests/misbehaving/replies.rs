//! Workers that break the protocol, because their plugin has changed the process in which it runs.

use std::time::Duration;

use bivium::{Call, ErrorCode};
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn misbehaving_reply_that_is_no_json() {
    let scene = Scene::loaded(json!({})).await;
    scene.fails_in("malformed_json", ErrorCode::Protocol, &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_reply_that_is_no_http() {
    let scene = Scene::loaded(json!({})).await;
    scene.fails_in("not_http", ErrorCode::Protocol, &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_content_length_too_short() {
    let scene = Scene::loaded(json!({})).await;
    scene.fails_in("short_content_length", ErrorCode::Protocol, &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_content_length_too_long() {
    let scene = Scene::loaded(json!({})).await;
    let call = Call::new().method("long_content_length").timeout(Duration::from_secs(2));
    scene.fails(call, &[ErrorCode::Timeout, ErrorCode::Protocol], &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_body_of_a_gigabyte() {
    let scene = Scene::loaded(json!({"limits": {"payload_mb": 1}})).await;
    scene.fails_in("gigabyte", ErrorCode::Protocol, &["over"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_endless_body() {
    let scene = Scene::loaded(json!({"limits": {"payload_mb": 1}})).await;
    scene.fails_in("endless_body", ErrorCode::Protocol, &["over"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_endless_head() {
    let scene = Scene::loaded(json!({})).await;
    // The worker may end because the host has closed its connection, before the host gives the reason.
    let call = Call::new().method("endless_head");
    scene.fails(call, &[ErrorCode::Protocol, ErrorCode::Crashed], &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_slow_loris() {
    let scene = Scene::loaded(json!({})).await;
    let call = Call::new().method("slow_loris").timeout(Duration::from_secs(2));
    scene.fails(call, &[ErrorCode::Timeout], &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_shuts_its_connection() {
    let scene = Scene::loaded(json!({})).await;
    // The answer itself may arrive before the connection is closed.
    let _ = scene.execute(Call::new().method("shut_its_connection")).await;
    let _ = scene.execute(Call::new()).await;
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_hands_back_a_path_that_it_does_not_own() {
    let scene = Scene::loaded(json!({})).await;
    scene.fails_in("forged_blob", ErrorCode::Denied, &[]).await;
    scene.end().await;
}
