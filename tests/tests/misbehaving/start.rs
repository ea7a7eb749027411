//! Workers that end before their first call.

use bivium::ErrorCode;
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn misbehaving_import_error() {
    let scene = Scene::new("import-error", json!({}));
    let error = scene.does_not_load(ErrorCode::PluginFailed, &["RuntimeError: no model here"]).await;
    let failure = error.failure().unwrap();
    assert_eq!(failure.kind, "RuntimeError");
    assert!(failure.traceback.contains("naughty.py"), "the traceback is whole: {}", failure.traceback);
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_syntax_error() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("naughty.py"), "class Naughty:\n    def execute(self:\n").unwrap();
    let scene = Scene::new("", json!({"source": directory.path()}));
    let error = scene.does_not_load(ErrorCode::PluginFailed, &["SyntaxError"]).await;
    assert!(error.failure().unwrap().traceback.contains("line 2"));
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_missing_module() {
    let scene = Scene::new("missing-module", json!({}));
    let error = scene.does_not_load(ErrorCode::PluginFailed, &["nowhere_to_be_found"]).await;
    assert_eq!(error.failure().unwrap().kind, "ModuleNotFoundError");
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_import_that_takes_20_s() {
    let scene = Scene::new("slow", json!({"start_s": 1}));
    scene.does_not_load(ErrorCode::Timeout, &["not ready after 1 s", "`start_s`"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_garbage_on_stdout_before_the_handshake() {
    let scene = Scene::new("garbage", json!({}));
    scene.in_time(scene.manager.load("naughty")).await.unwrap();
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_handshake_of_another_protocol_version() {
    let scene = Scene::new("wrong-protocol", json!({}));
    scene.does_not_load(ErrorCode::Protocol, &["99"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_exits_at_once() {
    let scene = Scene::new("exit", json!({}));
    scene.does_not_load(ErrorCode::Crashed, &["status 0", "before it was ready"]).await;
    scene.end().await;
    let scene = Scene::new("system-exit", json!({}));
    scene.does_not_load(ErrorCode::PluginFailed, &["SystemExit"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_segfault_at_import() {
    let scene = Scene::new("segfault", json!({}));
    scene.does_not_load(ErrorCode::Crashed, &["SIGSEGV"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_killed_at_import() {
    let scene = Scene::new("kill", json!({}));
    scene.does_not_load(ErrorCode::Crashed, &["SIGKILL", "before it was ready"]).await;
    scene.end().await;
}
