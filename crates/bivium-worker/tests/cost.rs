//! What the answers of workers cost the host: memory and time.
//!
//! The cases of a kind run one after another in a process that does nothing else. Its peak resident memory is read before
//! and after each call: it may grow by twice the limits of memory and payloads together. The same is tested for components
//! (`crates/bivium-wasm/tests/typed_cost`).

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::process::Command;
use std::time::Duration;

use bivium_interface::{Call, ErrorCode, Payload, PluginInterface, Result};
use common::{Fixture, load_with};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// The default limits of memory and payloads together.
const HELD: u64 = (256 + 16) << 20;
/// Buffers and the like.
const ASIDE: u64 = 16 << 20;
/// The variable that names the case to a child.
const CASE: &str = "BIVIUM_COST_CASE";

/// How a call is made.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Call,
    /// With a listener for its progress.
    Watched,
    Stream,
}

struct Case {
    method: &'static str,
    item: &'static str,
    way: Way,
    /// None for a result.
    error: Option<(ErrorCode, &'static str)>,
}

const fn refused(method: &'static str, item: &'static str, way: Way, what: &'static str) -> Case {
    Case { method, item, way, error: Some((ErrorCode::ResourceExhausted, what)) }
}

const CASES: &[Case] = &[
    refused("result", "[]", Way::Call, "the plugin's result is more than 272 MiB"),
    refused("result", "0", Way::Call, "the plugin's result is more than 272 MiB"),
    refused("result", r#"{"a":{}}"#, Way::Call, "the plugin's result is more than 272 MiB"),
    refused("result", r#"["x"]"#, Way::Watched, "more than 272 MiB"),
    Case {
        method: "result",
        item: r#""a string of some length, as most are in a result""#,
        way: Way::Call,
        error: None,
    },
    refused("spilled", r#"{"a":[0]}"#, Way::Call, "the plugin's result is more than 272 MiB"),
    Case { method: "spilled", item: "1.2345678901234567", way: Way::Watched, error: None },
    refused("blobs", r#"{}"#, Way::Call, "the plugin's result is more than 272 MiB"),
    refused("stream", r#"{"a":0}"#, Way::Stream, "an item of the plugin's stream is more than 272 MiB"),
    Case { method: "stream", item: "1234567890123", way: Way::Stream, error: None },
    refused("error", r#"{"a":0}"#, Way::Call, "the plugin's error is more than 272 MiB"),
    refused("error", r#"{"a":0}"#, Way::Stream, "more than 272 MiB"),
    Case { method: "nonsense", item: "[]", way: Way::Call, error: Some((ErrorCode::Denied, "m")) },
    Case { method: "progress", item: "[]", way: Way::Watched, error: None },
];

async fn load() -> Fixture {
    load_with("Costly", json!({"module": "costly"})).await
}

async fn outcome(sample: &Fixture, call: Call, way: Way) -> Result<Payload> {
    match way {
        Way::Call => sample.plugin.execute(call).await,
        Way::Watched => {
            let _progress = call.handle().progress();
            sample.plugin.execute(call).await
        }
        Way::Stream => match sample.plugin.execute_stream(call).await?.next().await {
            Some(item) => item,
            None => panic!("the stream gave nothing"),
        },
    }
}

#[test]
fn answers_take_no_more_of_the_host_than_they_may() {
    for n in 0..CASES.len() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child", "--nocapture"])
            .env(CASE, n.to_string())
            .output()
            .unwrap();
        println!("{}", String::from_utf8_lossy(&child.stdout));
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    }
}

/// Runs the case that the environment names; does nothing without it.
#[test]
fn a_child() {
    let Ok(case) = std::env::var(CASE) else { return };
    let case = &CASES[case.parse::<usize>().unwrap()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(case));
}

async fn run(case: &Case) {
    let sample = load().await;
    sample.ask("ready", &[]).await.unwrap();
    let worker = sample.pids().await[0];
    let call = Call::new().method(case.method).arg(case.item).arg(15);
    let before = resident();
    let result = outcome(&sample, call, case.way).await;
    let grown = most_resident().saturating_sub(before);
    let told = match &result {
        Ok(payload) => format!("{} bytes of JSON", payload.json.to_string().len()),
        Err(error) => error.to_string(),
    };
    println!("case {} of {}: {} of {} MiB: {told}", case.method, case.item, grown >> 20, (2 * HELD) >> 20);
    assert!(grown <= 2 * HELD + ASIDE, "{grown} bytes: {told}");
    match (case.error, &result) {
        (None, Ok(_)) => {}
        (Some((code, what)), Err(error)) => {
            assert_eq!(error.code(), code, "{told}");
            assert!(told.contains(what), "{told}");
            if code == ErrorCode::ResourceExhausted {
                assert!(told.contains("limits.payload_mb"), "{told}");
            }
        }
        _ => panic!("it did not end as expected: {told}"),
    }
    drop(result);
    // Only the answer was invalid: the worker still lives.
    assert_eq!(sample.pids().await[0], worker);
}

/// What is sent to a worker is checked against its limit while it is written; writing stops when the call ends.
#[tokio::test]
async fn many_arguments_meet_their_limit_and_the_calls_end() {
    let sample = load().await;
    let call = |count: usize| Call::new().method("length").arg(vec![json!([]); count]);
    assert_eq!(sample.plugin.execute(call(100_000)).await.unwrap().json, json!(100_000));
    let error = sample.plugin.execute(call(7_000_000)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("limits.payload_mb"), "{error}");
    let error = sample.plugin.execute(call(3_000_000).timeout(Duration::from_millis(5))).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    assert_eq!(sample.plugin.execute(call(10)).await.unwrap().json, json!(10));
}

/// A manifest that allows more, and one that allows less.
#[tokio::test]
async fn a_manifest_says_how_much_an_answer_may_cost() {
    let ask = async |limits: Value, item: &str| {
        let sample = load_with("Costly", json!({"module": "costly", "limits": limits})).await;
        sample.ask("result", &[json!(item), json!(15)]).await
    };
    let many = ask(json!({"payload_mb": 400}), "[]").await.unwrap();
    assert_eq!(many.as_array().unwrap().len(), (15 << 20) / 3);
    let error = ask(json!({"memory_mb": 400}), r#"{"a":{}}"#).await.unwrap_err();
    assert!(error.to_string().contains("more than 416 MiB in the host's memory"), "{error}");
}

/// The resident memory now; resets the peak.
#[allow(unsafe_code, reason = "what the allocator keeps would hide what the call takes")]
fn resident() -> u64 {
    // SAFETY: it has no preconditions.
    unsafe { libc::malloc_trim(0) };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS:")
}

fn most_resident() -> u64 {
    status("VmHWM:")
}

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
