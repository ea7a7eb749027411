//! The thread that makes busy guests yield sleeps while no guest runs. This test is alone in its process, so that its engine is the
//! only one.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use bivium_interface::{Call, ErrorCode, PluginInterface};
use common::{Loaded, load};
use serde_json::json;

/// How often the ticker's thread has gone to sleep so far.
fn switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let status = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let ticker = status.filter(|status| status.starts_with("Name:\tbivium-wasm-tic")).collect::<Vec<_>>();
    assert_eq!(ticker.len(), 1, "one engine has one ticker");
    let count = ticker[0].lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// Forty ticks long.
const SPAN: Duration = Duration::from_millis(200);

/// Waits until the thread does not wake for a while, and checks that it does not for another while.
async fn rests() {
    let begun = Instant::now();
    loop {
        let before = switches();
        tokio::time::sleep(SPAN).await;
        if switches() == before {
            tokio::time::sleep(SPAN).await;
            assert_eq!(switches(), before, "it woke although no guest ran");
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not stop waking");
    }
}

async fn meets_its_deadline(loaded: &Loaded) {
    let before = switches();
    let call = Call::new().method("spin").timeout(Duration::from_millis(100));
    let call = tokio::time::timeout(Duration::from_secs(20), loaded.plugin.execute(call)).await;
    assert_eq!(call.expect("the ticker sleeps beside a busy guest").unwrap_err().code(), ErrorCode::Timeout);
    assert!(switches() > before);
}

#[tokio::test]
async fn the_ticker_sleeps_while_no_guest_runs_and_wakes_for_the_first() {
    let spinner = load("misbehave", json!({})).await;
    let sleeper = load("probe", json!({})).await;
    rests().await;
    meets_its_deadline(&spinner).await;
    rests().await;
    // A guest that waits in a host function does not count as running.
    let call = Call::new().method("sleep").named("ns", u64::MAX);
    let handle = call.handle().clone();
    // A separate task, which is not polled together with this one.
    let waits = tokio::spawn(async move { sleeper.plugin.execute(call).await });
    rests().await;
    meets_its_deadline(&spinner).await;
    rests().await;
    assert!(!waits.is_finished());
    handle.cancel();
    assert_eq!(waits.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
}
