//! The same host code for both runtimes: every test runs with both twins, and does not check which one it has.

use std::io::Read;
use std::time::Duration;

use bivium::{Call, ErrorCode, Payload, PluginManager, Progress};
use bivium_tests::{TWINS, manager};
use futures_util::StreamExt;
use serde_json::json;

/// Runs a test on each twin, with a manager that has both loaded.
async fn on_both<F: AsyncFn(&PluginManager, &str)>(test: F) {
    let own = tempfile::tempdir().unwrap();
    let manager = manager(own.path()).unwrap();
    for twin in TWINS {
        manager.load(twin).await.unwrap();
        test(&manager, twin).await;
    }
    for report in manager.unload_all().await {
        report.result.unwrap();
    }
    assert_eq!(manager.exchange().usage().blobs, 0, "blobs are left");
}

/// A call with a deadline of ten seconds: no call here takes one second.
fn call() -> Call {
    Call::new().timeout(Duration::from_secs(10))
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_go_in_by_name_or_position_and_a_result_comes_out() {
    on_both(async |manager, twin| {
        let result = manager.execute(twin, call().named("text", "wörld")).await.unwrap();
        assert_eq!(result.json, json!({"text": "hello wörld"}));
        let result = manager.execute(twin, call().arg("you")).await.unwrap();
        assert_eq!(result.json, json!({"text": "hello you"}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gives_its_results_in_order_with_progress() {
    on_both(async |manager, twin| {
        let call = call().named("text", "a b c");
        let progress = call.handle().progress();
        let stream = manager.execute_stream(twin, call).await.unwrap();
        let results: Vec<_> = stream.map(|result| result.unwrap().json["word"].clone()).collect().await;
        assert_eq!(results, ["a", "b", "c"]);
        assert_eq!(*progress.borrow(), Progress::new(Some(1.0), "c"), "{twin}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_leaves_the_plugin_usable() {
    on_both(async |manager, twin| {
        let mut stream = manager.execute_stream(twin, call().named("text", "a b c")).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        manager.execute(twin, call().named("text", "x")).await.unwrap();
        assert_eq!(manager.stats(twin).await.unwrap().restarts, 0, "{twin}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_and_methods_are_typed_errors() {
    on_both(async |manager, twin| {
        let error = manager.execute(twin, call().named("wrong", 1)).await.unwrap_err();
        assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidInput, Some(twin)), "{error}");
        let error = manager.execute(twin, call().method("missing")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound, "{twin}: {error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugins_own_error_keeps_its_type_and_message() {
    on_both(async |manager, twin| {
        let failing = call().method("fail");
        let id = failing.id();
        let error = manager.execute(twin, failing).await.unwrap_err();
        assert_eq!((error.code(), error.call()), (ErrorCode::PluginFailed, Some(id)), "{twin}");
        let failure = error.failure().unwrap();
        assert!(failure.message.contains("asked to fail") && !failure.kind.is_empty(), "{failure:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_typed_tells_the_last_words_and_the_next_call_works() {
    on_both(async |manager, twin| {
        let error = manager.execute(twin, call().method("crash")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Crashed, "{twin}: {error}");
        assert!(error.to_string().contains("about to end"), "{twin}: {error}");
        manager.execute(twin, call().named("text", "x")).await.unwrap();
        assert_eq!(manager.stats(twin).await.unwrap().restarts, 1, "{twin}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_can_be_cancelled_whether_it_listens_or_not() {
    on_both(async |manager, twin| {
        for method in ["patient", "spin"] {
            let running = call().method(method);
            let (handle, mut progress) = (running.handle().clone(), running.handle().progress());
            let cancel = async {
                progress.changed().await.unwrap();
                handle.cancel();
            };
            let (result, ()) = tokio::join!(manager.execute(twin, running), cancel);
            assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled, "{twin} {method}");
            manager.execute(twin, call().named("text", "x")).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_deadline() {
    on_both(async |manager, twin| {
        let late = Call::new().method("spin").timeout(Duration::from_millis(200));
        let error = manager.execute(twin, late).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout, "{twin}: {error}");
        manager.execute(twin, call().named("text", "x")).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_go_in_and_come_out_as_files() {
    on_both(async |manager, twin| {
        let blob = manager.exchange().write(b"some bytes", "text/plain").unwrap();
        let result = manager.execute(twin, call().method("size").blob("data", blob.clone())).await.unwrap();
        assert_eq!(result.json, json!({"size": 10, "media_type": "text/plain"}));

        let upper = manager.execute(twin, call().method("upper").blob("data", blob.clone())).await.unwrap();
        let made = upper.blob(&upper.json["data"]).unwrap().clone();
        let mut text = String::new();
        made.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), made.media_type()), ("SOME BYTES", "text/plain"), "{twin}");

        let result = manager.execute(twin, call().method("same").blob("data", blob.clone())).await.unwrap();
        let same = result.blob(&result.json["data"]).unwrap();
        assert_eq!(same.path(), blob.path(), "{twin}: passed on with no copy");

        let path = made.path().to_owned();
        assert!(path.exists());
        drop((made, upper));
        assert!(!path.exists(), "{twin}: a blob is deleted with its last handle");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_literal_blob_key_is_data_and_a_foreign_index_is_refused() {
    on_both(async |manager, twin| {
        let value = bivium::escape(json!({"$blob": 7, "$$blob": 8}));
        let result = manager.execute(twin, call().method("literal").named("value", value.clone())).await.unwrap();
        assert_eq!(result.json, json!({"value": value}), "{twin}");
        let payload = Payload::from(json!({"value": {"$blob": 0}}));
        assert_eq!(call().named_from(payload).unwrap_err().code(), ErrorCode::InvalidInput);
        let foreign = call().method("literal").named("value", json!({"$blob": 0}));
        let error = manager.execute(twin, foreign).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{twin}: {error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_checked_completed_and_kept_on_failure() {
    on_both(async |manager, twin| {
        assert_eq!(manager.config(twin).unwrap(), json!({"greeting": "hello", "refuse": false}));
        let error = manager.update_config(twin, json!({"greeting": 1, "more": 2})).await.unwrap_err();
        assert_eq!((error.code(), error.problems().len()), (ErrorCode::InvalidConfig, 2), "{error}");
        let error = manager.update_config(twin, json!({"refuse": true})).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig, "{twin}: {error}");
        assert!(error.to_string().contains("asked to refuse"), "{twin}: {error}");
        let hello = manager.execute(twin, call().named("text", "x")).await.unwrap();
        assert_eq!(hello.json["text"], "hello x");
        manager.update_config(twin, json!({"greeting": "bye"})).await.unwrap();
        let bye = manager.execute(twin, call().named("text", "x")).await.unwrap();
        assert_eq!(bye.json["text"], "bye x");
        assert_eq!(manager.get(twin).unwrap().current_config().await.unwrap()["greeting"], "bye");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_carry_the_call() {
    on_both(async |manager, twin| {
        let logging = call().named("text", "a record");
        let id = logging.id();
        let mut follower = manager.follow_logs(twin).unwrap();
        manager.execute(twin, logging).await.unwrap();
        let record = loop {
            let record = tokio::time::timeout(Duration::from_secs(10), follower.recv()).await.unwrap().unwrap();
            if record.message.contains("executing a record") {
                break record;
            }
        };
        assert_eq!(record.call, Some(id), "{twin}");
        assert!(manager.logs(twin, 10).unwrap().iter().any(|known| known.message == record.message));
    })
    .await;
}
