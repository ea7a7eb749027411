//! Two hundred workers in one task: calls of all of them at once, and the end of all of them at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bivium::scheduler::PermissiveScheduler;
use bivium::{Call, PluginManager};
use bivium_tests::processes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::json;

const WORKERS: usize = 200;
/// Far longer than it takes on a busy machine; a task that never yields takes for ever.
const DONE: Duration = Duration::from_secs(400);

const QUICK: &str = "class P:\n    def execute(self, n):\n        return n\n";

async fn load_call_and_unload(dir: std::path::PathBuf, mark: String) {
    for n in 0..WORKERS {
        let more = json!({"start_s": 300, "env_vars": {"BIVIUM_MANY_MARK": mark, "PYTHONDONTWRITEBYTECODE": "1"}});
        bivium_tests::plugin(&dir, &format!("plugin-{n}"), QUICK, more);
    }
    let manager = PluginManager::builder()
        .manifests(&dir)
        .data_dir(dir.join("data"))
        .scheduler(Arc::new(PermissiveScheduler))
        .build()
        .unwrap();
    let loads = (0..WORKERS).map(|n| {
        let manager = manager.clone();
        async move { manager.load(&format!("plugin-{n}")).await.unwrap() }
    });
    // Not all at once: starting them needs the processors.
    stream::iter(loads).buffer_unordered(8).collect::<Vec<()>>().await;
    for round in 0..5 {
        let calls = (0..WORKERS).map(|n| {
            let call = Call::new().named("n", n);
            let manager = manager.clone();
            async move { (n, manager.execute(&format!("plugin-{n}"), call).await) }
        });
        for (n, result) in join_all(calls).await {
            assert_eq!(result.unwrap().json, json!(n), "round {round}");
        }
    }
    let begun = Instant::now();
    let reports = manager.unload_all().await;
    assert_eq!(reports.len(), WORKERS);
    for report in reports {
        report.result.unwrap();
    }
    println!("{WORKERS} workers unloaded in {:?}", begun.elapsed());
}

#[test]
fn two_hundred_workers_are_called_and_unloaded_in_one_task() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("many-{}", std::process::id());
    let (sender, ended) = mpsc::channel();
    let (path, marked) = (dir.path().to_owned(), mark.clone());
    let host = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(load_call_and_unload(path, marked));
        sender.send(()).unwrap();
    });
    let outcome = ended.recv_timeout(DONE);
    assert!(outcome != Err(mpsc::RecvTimeoutError::Timeout), "it does not end");
    host.join().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(processes::all_gone(&format!("BIVIUM_MANY_MARK={mark}"), Duration::from_secs(5))).unwrap();
}
