//! Logs of plugins of both runtimes, kept in files by one program and read by another.

use bivium::{Call, KeptLog, LogFilter, LogLevel, LogSource, PluginManager};
use bivium_tests::{TWINS, bivium, root};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asks_for_files_has_both_roads_records_in_them() {
    let own = tempfile::tempdir().unwrap();
    let manager = PluginManager::builder()
        .manifests(root().join("tests/plugins"))
        .manifests(root().join("tests/guests"))
        .data_dir(own.path())
        .log_dir(own.path().join("logs"))
        .build()
        .unwrap();
    let mut calls = Vec::new();
    for twin in TWINS {
        manager.load(twin).await.unwrap();
        let call = Call::new().named("text", "aloud");
        calls.push(call.id());
        manager.execute(twin, call).await.unwrap();
    }
    manager.unload_all().await;
    // Dropping the last handle waits until the files are written.
    drop(manager);
    for (twin, call) in TWINS.into_iter().zip(calls) {
        let filter = LogFilter::new(Some(LogLevel::Info), Some(call));
        let records = KeptLog::new(own.path().join("logs"), twin, filter).tail(10).unwrap();
        let record = records.iter().find(|record| record.message.contains("executing aloud")).unwrap();
        assert_eq!((record.source, record.call), (LogSource::Log, Some(call)), "{twin}");
        assert!(record.instance > 0, "{twin}");
    }
}

#[test]
fn the_program_keeps_them_by_itself_and_shows_them() {
    let own = tempfile::tempdir().unwrap();
    for twin in TWINS {
        let ran = bivium(own.path()).unwrap().args(["run", twin, "text=by the program"]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let shown = bivium(own.path()).unwrap().args(["logs", twin, "--output", "json"]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = |record: &&Value| record["message"].as_str().unwrap().contains("executing by the program");
        let record = records.iter().find(said).unwrap_or_else(|| panic!("{twin}: {text}"));
        assert_eq!((record["plugin"].as_str(), record["level"].as_str()), (Some(twin), Some("info")));
        assert!(record["call"].is_string(), "{record}");
    }
}
