//! Results and exceptions that are not JSON.

use bivium::{Call, ErrorCode};
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn misbehaving_exception_that_cannot_be_written() {
    let scene = Scene::loaded(json!({})).await;
    let error = scene.fails_in("unwritable_exception", ErrorCode::PluginFailed, &["Unwritable"]).await;
    assert_eq!(error.failure().unwrap().kind, "naughty.Unwritable");
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_value_that_cannot_be_written() {
    let scene = Scene::loaded(json!({})).await;
    scene
        .fails(Call::new().method("unwritable_value"), &[ErrorCode::PluginFailed, ErrorCode::Protocol], &["lock"])
        .await;
    scene.fails(Call::new().method("endless_value"), &[ErrorCode::PluginFailed, ErrorCode::Protocol], &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_nan_and_infinity() {
    let scene = Scene::loaded(json!({})).await;
    // JSON has neither, and a text in their place could not be distinguished from an ordinary text.
    let error = scene.execute(Call::new().method("not_finite")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PluginFailed, "{error}");
    assert!(error.to_string().contains("result[0]"), "it says where: {error}");
    scene.still_serves().await;
    scene.end().await;
}
