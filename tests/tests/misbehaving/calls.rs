//! Calls that crash or do not end.

use std::time::Duration;

use bivium::{Call, ErrorCode};
use serde_json::json;

use crate::scene::{Scene, says};

const SOON: Duration = Duration::from_secs(1);

#[tokio::test]
async fn misbehaving_segfault() {
    let scene = Scene::loaded(json!({})).await;
    // The interpreter's own fault handler prints where.
    scene.fails_in("segfault", ErrorCode::Crashed, &["SIGSEGV", "in the middle of a call"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_killed_by_signal_9() {
    let scene = Scene::loaded(json!({})).await;
    let error = scene.fails_in("kill", ErrorCode::Crashed, &["SIGKILL", "the last words"]).await;
    assert!(!error.to_string().contains("memory"), "not every kill is because of memory: {error}");
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_exit_in_mid_stream() {
    let scene = Scene::loaded(json!({})).await;
    let (items, error) = scene.stream(Call::new().method("exit_in_stream")).await;
    assert_eq!(items, [1, 2], "what came before is not lost");
    says(&error.unwrap(), ErrorCode::Crashed, &["status 3"]);
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_deadlock() {
    let scene = Scene::loaded(json!({})).await;
    for method in ["deadlock", "deadlock_for_ever"] {
        scene.fails(Call::new().method(method).timeout(SOON), &[ErrorCode::Timeout], &[]).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_holds_the_interpreter_lock() {
    let scene = Scene::loaded(json!({})).await;
    let before = scene.manager.stats("naughty").await.unwrap();
    let held = scene.execute(Call::new().method("hold_the_lock").named("seconds", 5)).await.unwrap();
    assert_eq!(held.json, "held", "it is not killed for it");
    let after = scene.manager.stats("naughty").await.unwrap();
    assert_eq!((after.restarts, after.instances[0].id), (0, before.instances[0].id));
    // A cancel works nevertheless.
    let call = Call::new().method("hold_the_lock_for_ever");
    let handle = call.handle().clone();
    let (result, ()) = tokio::join!(scene.execute(call), async {
        tokio::time::sleep(SOON).await;
        handle.cancel();
    });
    says(&result.unwrap_err(), ErrorCode::Cancelled, &["worker was killed"]);
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_ignores_sigterm_and_its_cancel() {
    let scene = Scene::loaded(json!({})).await;
    let call = Call::new().method("ignore_sigterm").timeout(SOON);
    scene.fails(call, &[ErrorCode::Timeout], &["worker was killed"]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_closes_its_sockets() {
    let scene = Scene::loaded(json!({})).await;
    let call = Call::new().method("close_every_socket").timeout(Duration::from_secs(5));
    scene.fails(call, &[ErrorCode::Crashed, ErrorCode::Protocol, ErrorCode::Timeout], &[]).await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_a_hundred_thousand_progress_events_a_second() {
    let scene = Scene::loaded(json!({})).await;
    let call = Call::new().method("progress_flood");
    let mut progress = call.handle().progress();
    let watched = async {
        let mut seen = 0;
        while progress.changed().await.is_ok() {
            seen += 1;
        }
        seen
    };
    let (result, seen) = tokio::join!(scene.execute(call), watched);
    let reported = result.unwrap().json.as_u64().unwrap();
    assert!(seen > 0 && seen < reported.max(2), "{seen} of {reported} reach the listener");
    scene.still_serves().await;
    scene.end().await;
}

#[tokio::test]
async fn misbehaving_floods_its_output() {
    let scene = Scene::loaded(json!({})).await;
    scene.execute(Call::new().method("log_flood")).await.unwrap();
    scene.still_serves().await;
    scene.end().await;
}
