//! Plugins that use up resources, or access files that do not belong to them.
//!
//! Each test checks the error code that the caller gets, the limit or permission that the error names, and what is left: a
//! worker that serves the next call, and no file.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::time::Duration;

use bivium_interface::{Call, ErrorCode, PluginError, PluginInterface};
use common::{Fixture, captive, eventually, is_alive, load_with};
use serde_json::{Value, json};

/// Long enough for a busy machine.
const IN_TIME: Duration = Duration::from_secs(30);

async fn greedy(limits: Value) -> Fixture {
    captive("Greedy", json!({"limits": limits})).await
}

async fn fails(sample: &Fixture, call: Call) -> PluginError {
    let outcome = tokio::time::timeout(IN_TIME, sample.plugin.execute(call)).await.expect("it takes too long");
    outcome.unwrap_err()
}

/// The next call is served, by the same worker.
async fn serves(sample: &Fixture) {
    sample.plugin.execute(Call::new().method("pid")).await.unwrap();
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 0);
}

/// Nothing is left of the plugin when it is dropped.
async fn leaves_nothing(sample: Fixture) {
    let Fixture { plugin, exchange, .. } = sample;
    let pids =
        plugin.stats().await.unwrap().instances.into_iter().flat_map(|instance| instance.pids).collect::<Vec<_>>();
    plugin.cleanup().await.unwrap();
    drop(plugin);
    assert!(eventually(5, || !pids.iter().copied().any(is_alive)).await);
    assert!(eventually(5, || exchange.usage() == bivium_exchange::Usage::default()).await, "{:?}", exchange.usage());
}

#[tokio::test]
async fn a_worker_with_too_little_memory_to_start_names_the_limit() {
    // Too little for the dynamic linker, for the interpreter, for the worker's own modules, and for the plugin's import.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("large.py"), "kept = bytearray(1 << 30)\nclass P:\n    def execute(self): ...\n")
        .unwrap();
    for limit in [1, 2, 6, 256] {
        let keys = json!({"module": "large", "source": dir.path(), "limits": {"memory_mb": limit}});
        let error = fails(&load_with("P", keys).await, Call::new()).await;
        assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{limit}: {error}");
        let told = format!("the worker does not start with {limit} MiB of memory (limits.memory_mb)");
        assert_eq!(error.message(), told);
        assert!(error.help().is_some_and(|help| help.starts_with("raise `limits.memory_mb`")), "{error}");
        assert!(error.failure().is_some(), "{error}");
    }
}

#[tokio::test]
async fn misbehaving_out_of_memory() {
    let sample = greedy(json!({"memory_mb": 256})).await;
    assert_eq!(sample.ask("memory", &[json!(8)]).await.unwrap(), json!(8 << 20));
    for method in ["memory", "anonymous"] {
        let error = fails(&sample, Call::new().method(method).arg(1024)).await;
        assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error:?}");
        assert_eq!(error.help(), Some("limits.memory_mb is 256"));
        serves(&sample).await;
    }
    // Processes that it starts are limited as well.
    let status = sample.plugin.execute(Call::new().method("memory_of_a_child").arg(1024)).await.unwrap();
    assert_eq!(status.json, json!(1), "the child raised MemoryError");
    leaves_nothing(sample).await;
}

#[tokio::test]
async fn misbehaving_out_of_memory_in_native_code() {
    let sample = greedy(json!({"memory_mb": 256})).await;
    let error = fails(&sample, Call::new().method("abort_without_memory")).await;
    assert_eq!(error.code(), ErrorCode::Crashed, "{error:?}");
    assert!(error.message().contains("SIGABRT"), "{error}");
    sample.plugin.execute(Call::new().method("pid")).await.unwrap();
    leaves_nothing(sample).await;
}

#[tokio::test]
async fn misbehaving_too_many_open_files() {
    let sample = greedy(json!({"files": 50})).await;
    assert_eq!(sample.ask("files", &[json!(50)]).await.unwrap(), json!(50));
    let error = fails(&sample, Call::new().method("files").arg(500)).await;
    assert_eq!((error.code(), error.help()), (ErrorCode::ResourceExhausted, Some("limits.files is 50")), "{error:?}");
    serves(&sample).await;
    leaves_nothing(sample).await;
}

#[tokio::test]
async fn misbehaving_fills_the_disk_quota() {
    let sample = greedy(json!({"blob_mb": 2})).await;
    let made = sample.plugin.execute(Call::new().method("fill").arg(2)).await.unwrap();
    assert_eq!(made.blobs[0].size(), 2 << 20);
    drop(made);
    let error = fails(&sample, Call::new().method("fill").arg(3)).await;
    assert_eq!((error.code(), error.help()), (ErrorCode::ResourceExhausted, Some("limits.blob_mb is 2")), "{error:?}");
    serves(&sample).await;
    // Spread over many files.
    let error = fails(&sample, Call::new().method("fill_many").arg(3)).await;
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error:?}");
    assert!(error.message().contains("limits.blob_mb"), "{error}");
    serves(&sample).await;
    leaves_nothing(sample).await;
}

/// Not a test, but the host of the next one: this program, started again in another directory.
#[tokio::test]
async fn host_of_the_next_test() {
    if std::env::var_os("BIVIUM_TEST_HOST").is_none() {
        return;
    }
    for permissions in [Value::Null, json!({})] {
        let sample = captive("Greedy", json!({"permissions": permissions})).await;
        let found = sample.plugin.execute(Call::new().method("modules")).await.unwrap();
        println!("\nFOUND {}", found.json);
        leaves_nothing(sample).await;
    }
}

#[test]
fn misbehaving_stray_json_py_in_its_working_directory() {
    let strange = tempfile::tempdir().unwrap();
    for name in ["json", "os", "socket", "ctypes", "captive", "bivium_worker", "sitecustomize"] {
        std::fs::write(strange.path().join(format!("{name}.py")), "raise RuntimeError('stray')\n").unwrap();
    }
    let host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host_of_the_next_test", "--nocapture"])
        .env("BIVIUM_TEST_HOST", "1")
        .current_dir(strange.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&host.stdout);
    assert!(host.status.success(), "{said}");
    let found: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("FOUND ")).collect();
    assert_eq!(found, [r#"["json","os","socket"]"#; 2], "{said}");
}

#[tokio::test]
async fn misbehaving_reads_stdin() {
    let sample = captive("Greedy", json!({})).await;
    let read = sample.plugin.execute(Call::new().method("read_stdin")).await.unwrap();
    assert_eq!(read.json, json!(["", "EOFError"]));
    serves(&sample).await;
    leaves_nothing(sample).await;
}

/// Makes the plugin start four processes, and returns the ids that the host sees.
async fn family(sample: &Fixture) -> Vec<u32> {
    let children = sample.plugin.execute(Call::new().method("children")).await.unwrap().json;
    assert_eq!(children.as_array().unwrap().len(), 4);
    let pids = sample.pids().await;
    assert!(pids.len() >= 5, "the worker and its processes: {pids:?}");
    pids
}

#[tokio::test]
async fn misbehaving_grandchildren_that_outlive_it() {
    let sample = load_with("Families", json!({"permissions": {}})).await;
    let family = family(&sample).await;
    assert!(family.iter().copied().all(is_alive));
    let error = fails(&sample, Call::new().method("crash").arg("exit")).await;
    assert_eq!(error.code(), ErrorCode::Crashed);
    assert!(!family.iter().copied().any(is_alive), "they ended with it");
    leaves_nothing(sample).await;
}

#[tokio::test]
async fn misbehaving_ignores_sigterm() {
    let sample = load_with("Families", json!({"permissions": {}})).await;
    sample.plugin.execute(Call::new().method("ignore_sigterm")).await.unwrap();
    let family = family(&sample).await;
    leaves_nothing(sample).await;
    assert!(eventually(5, || !family.iter().copied().any(is_alive)).await);
}

#[tokio::test]
async fn misbehaving_kills_its_guard() {
    let sample = captive("Captive", json!({"permissions": {}})).await;
    let guard = sample.ask("parent", &[]).await.unwrap();
    let error = fails(&sample, Call::new().method("signal").arg(guard).arg(9)).await;
    let held = error.code() == ErrorCode::Denied && error.message().contains("Operation not permitted");
    assert!(held || error.code() == ErrorCode::Crashed, "{error:?}");
    if !held {
        eprintln!("this kernel (before 6.12) lets a worker signal its guard; the worker ends with it");
    }
    leaves_nothing(sample).await;
}

#[tokio::test]
async fn misbehaving_writes_outside_the_exchange() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outside");
    let sample = captive("Captive", json!({"permissions": {}})).await;
    let error = fails(&sample, Call::new().method("write").arg(path.to_str().unwrap())).await;
    if !sample.holds_files() {
        return;
    }
    assert_eq!(error.code(), ErrorCode::Denied, "{error:?}");
    assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    assert!(error.help().unwrap().contains("permissions.filesystem"), "{error:?}");
    assert!(!path.exists());
    leaves_nothing(sample).await;
}

#[tokio::test]
async fn misbehaving_hands_back_a_path_it_does_not_own() {
    for permissions in [Value::Null, json!({})] {
        let sample = captive("Captive", json!({"permissions": permissions})).await;
        let other = sample.exchange.write(b"another's", "text/plain").unwrap();
        for path in ["/etc/passwd", "/proc/self/environ", "/dev/zero", other.path().to_str().unwrap()] {
            let error = fails(&sample, Call::new().method("claim").arg(path)).await;
            assert_eq!(error.code(), ErrorCode::Denied, "{path}: {error:?}");
        }
        // Without the worker's own check: the host checks the path itself.
        for path in ["../../blobs", "link", "/etc/passwd"] {
            let error = fails(&sample, Call::new().method("forge").arg(path)).await;
            assert_eq!(error.code(), ErrorCode::Denied, "{path}: {error:?}");
        }
        assert_eq!(std::fs::read(other.path()).unwrap(), b"another's");
        drop(other);
        leaves_nothing(sample).await;
    }
}
