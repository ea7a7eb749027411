//! Calls through real workers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod common;

use std::time::{Duration, Instant};

use bivium_interface::{Blob, Call, ErrorCode, LogLevel, LogSource, PluginInterface};
use bivium_records::PluginLog;
use common::{load, load_from, load_with, manifest};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

#[tokio::test]
async fn arguments_go_in_and_results_come_out() {
    let sample = load("Echo").await;
    let call = Call::new().arg(json!({"a": [1, 2.5, null]})).named("text", "häß \u{1f600}");
    let result = sample.plugin.execute(call).await.unwrap();
    assert_eq!(result.json, json!({"args": [{"a": [1, 2.5, null]}], "kwargs": {"text": "häß \u{1f600}"}}));
    let result = sample.plugin.execute(Call::new().method("add").arg(2).named("right", 5)).await.unwrap();
    assert_eq!(result.json, json!(7));
    let methods = sample.plugin.methods().await.unwrap();
    assert!(methods.iter().any(|method| method.name == "execute" && method.description == "Gives back its arguments."));
    let stats = sample.plugin.stats().await.unwrap();
    assert_eq!((stats.calls, stats.failed, stats.instances.len()), (2, 0, 1));
    assert!(stats.memory_bytes() > 1 << 20, "{stats:?}");
}

#[tokio::test]
async fn the_memory_of_a_new_worker_is_reported() {
    for _ in 0..5 {
        let sample = load("Families").await;
        // A worker is started for the first call.
        sample.ask("sleep", &[json!(0)]).await.unwrap();
        let stats = sample.plugin.stats().await.unwrap();
        let instance = &stats.instances[0];
        assert!(instance.memory_bytes > 1 << 20, "{stats:?}");
        assert_eq!(instance.pids.iter().map(|pid| u64::from(*pid)).collect::<Vec<_>>(), [instance.id]);
        assert!(instance.cpu_percent.is_some() || instance.age_s < 1.0, "{stats:?}");
        // Processes that it has just started count as well, at any depth of the tree.
        let children = sample.ask("children", &[]).await.unwrap();
        let stats = sample.plugin.stats().await.unwrap();
        for child in children.as_array().unwrap() {
            assert!(stats.pids().iter().any(|pid| json!(pid) == *child), "{child} in {stats:?}");
        }
    }
}

#[tokio::test]
async fn errors_are_typed_and_carry_the_traceback() {
    let sample = load("Echo").await;
    let call = Call::new().method("fail");
    let id = call.id();
    let error = sample.plugin.execute(call).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::PluginFailed, "ValueError: no such luck"));
    assert_eq!((error.plugin(), error.call()), (Some("sample"), Some(id)));
    assert!(error.failure().unwrap().traceback.contains("raise ValueError"));
    for (method, code) in
        [("nothing", ErrorCode::NotFound), ("_private", ErrorCode::NotFound), ("add", ErrorCode::InvalidInput)]
    {
        let error = sample.plugin.execute(Call::new().method(method)).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let error = sample.plugin.execute(Call::new().method("value").arg("nan")).await.unwrap_err();
    assert!(error.message().contains("result.scores[1] is nan"), "{error}");
}

#[tokio::test]
async fn a_result_that_nests_too_deep_is_the_plugins_error_and_its_worker_lives() {
    let sample = load("Echo").await;
    sample.plugin.execute(Call::new().method("nest").arg(100)).await.unwrap();
    let worker = sample.plugin.stats().await.unwrap().instances[0].id;
    for depth in [200, 100_000] {
        let nest = || Call::new().method("nest").arg(depth);
        let error = sample.plugin.execute(nest()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PluginFailed, "{error}");
        let streamed: Vec<_> = sample.plugin.execute_stream(nest()).await.unwrap().collect().await;
        assert_eq!(streamed.last().unwrap().as_ref().unwrap_err().code(), ErrorCode::PluginFailed);
    }
    sample.plugin.execute(Call::new().method("nest").arg(100)).await.unwrap();
    assert_eq!(sample.plugin.stats().await.unwrap().instances[0].id, worker);
}

#[tokio::test]
async fn a_result_that_json_does_not_hold_exactly_is_refused_with_its_place_and_its_worker_lives() {
    let giving = load_with("Giving", json!({"module": "giving"})).await;
    assert_eq!(giving.ask("alive", &[]).await.unwrap(), json!("alive"));
    let pids = giving.pids().await;
    for (what, told) in [
        ("{'id': 2**64 + 1}", "result.of[0].id is 18446744073709551617, an integer"),
        ("[-2**63 - 1]", "result.of[0][0] is -9223372036854775809, an integer"),
        ("10**400", "result.of[0] is a number of 401 digits, an integer"),
        ("10**5000", "result.of[0] is an integer of 16610 bits, an integer"),
        ("[0] * 200_000 + [2**64]", "result.of[0][200000] is 18446744073709551616, an integer"),
        ("{1: 'a', '1': 'b'}", "the key result.of[0][\"1\"] occurs twice in JSON"),
        ("{True: 'a', 'true': 'b'}", "the key result.of[0].true occurs twice in JSON"),
        ("{1: {1}, '1': 'b'}", "the key result.of[0][\"1\"] occurs twice in JSON"),
    ] {
        let call = || Call::new().arg(what);
        let error = giving.plugin.execute(call()).await.unwrap_err();
        let streamed = giving.plugin.execute_stream(call()).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
        for error in [error, streamed] {
            assert_eq!(error.code(), ErrorCode::PluginFailed, "{error}");
            let whole = format!("the result cannot be handed back: {told}");
            assert!(error.message().starts_with(&whole), "{what}: {error}");
        }
    }
    let exact = giving.ask("execute", &[json!("[2**64 - 1, -2**63, 1e20, {'a': {'a': 1}}]")]).await.unwrap();
    assert_eq!(exact, json!({"of": [[u64::MAX, i64::MIN, 1e20, {"a": {"a": 1}}]]}));
    assert_eq!(giving.pids().await, pids, "the same worker");
    assert_eq!(giving.plugin.stats().await.unwrap().crashes, 0);
}

#[tokio::test]
async fn blobs_go_both_ways_without_a_copy() {
    let sample = load("Echo").await;
    let blob = sample.exchange.write(b"hello", "audio/wav").unwrap();
    let described = sample.plugin.execute(Call::new().method("describe").blob("blob", blob.clone())).await.unwrap();
    assert_eq!(described.json["data"], "hello");
    assert_eq!(described.json["path"], blob.path().to_str().unwrap());
    assert!(described.json["path"].as_str().unwrap().ends_with(".wav"));

    let back = sample.plugin.execute(Call::new().method("hand_back").blob("blob", blob.clone())).await.unwrap();
    assert_eq!(back.blob(&back.json["same"]).unwrap().path(), blob.path());

    let made = sample.plugin.execute(Call::new().method("make").arg("dto")).await.unwrap();
    let file = made.blob(&made.json["one"]).unwrap();
    assert_eq!((file.media_type(), std::fs::read(file.path()).unwrap().as_slice()), ("text/csv", b"a,b".as_slice()));
    assert!(file.is_owned());
    let path = file.path().to_owned();
    drop(made);
    assert!(!path.exists(), "it is deleted with its last handle");

    for kind in ["outside", "link"] {
        let error = sample.plugin.execute(Call::new().method("make").arg(kind)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Denied, "{error}");
    }
    let literal = sample.plugin.execute(Call::new().method("make").arg("literal")).await.unwrap();
    assert_eq!(literal.json, json!({"$$blob": 7, "$$$blob": 8, "file": {"$blob": 0}}));
}

#[tokio::test]
async fn a_callers_own_file_is_passed_by_reference_and_stays() {
    let sample = load("Echo").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.txt");
    std::fs::write(&path, "own").unwrap();
    let blob = Blob::by_reference(&path, None).unwrap();
    let described = sample.plugin.execute(Call::new().method("describe").blob("blob", blob)).await.unwrap();
    assert_eq!(described.json["path"], path.canonicalize().unwrap().to_str().unwrap());
    assert!(path.exists());
}

#[tokio::test]
async fn stream_items_arrive_when_they_are_made() {
    let sample = load("Echo").await;
    let stream = sample.plugin.execute_stream(Call::new().method("stream").arg(3)).await.unwrap();
    let chunks: Vec<Value> = stream.map(|chunk| chunk.unwrap().json).collect().await;
    assert_eq!(chunks, [json!({"number": 0}), json!({"number": 1}), json!({"number": 2})]);

    let mut stream = sample.plugin.execute_stream(Call::new().method("fail_later")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().json, json!(1));
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), ErrorCode::PluginFailed);
    assert!(stream.next().await.is_none());

    let mut stream = sample.plugin.execute_stream(Call::new().method("nothing")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(sample.plugin.execute(Call::new().method("add").arg(1)).await.unwrap().json, json!(2));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_generator() {
    let sample = load("Stubborn").await;
    let mut stream = sample.plugin.execute_stream(Call::new().method("endless")).await.unwrap();
    for n in 0..100 {
        assert_eq!(stream.next().await.unwrap().unwrap().json, json!(n));
    }
    drop(stream);
    let caught = sample.plugin.execute(Call::new().method("what")).await.unwrap();
    assert_eq!(caught.json, json!(["closed"]));
}

#[tokio::test]
async fn a_slow_reader_slows_the_generator() {
    let sample = load_with("Stubborn", json!({"concurrency": 2})).await;
    let mut stream = sample.plugin.execute_stream(Call::new().method("big_chunks")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Asked while the reader is slow: after a reader is dropped, the rest is read and discarded until the cancel takes effect.
    let caught = sample.plugin.execute(Call::new().method("what")).await.unwrap();
    drop(stream);
    let made = caught.json.as_array().unwrap().iter().filter(|item| **item == "made").count();
    assert!(made < 40, "{made} chunks of 100 kB were made for a reader of one");
}

#[tokio::test]
async fn progress_reaches_a_listener_of_either_kind_of_call() {
    let sample = load("Progress").await;
    for streaming in [false, true] {
        let call = Call::new().arg(3).arg(0.06);
        let mut progress = call.handle().progress();
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            while progress.changed().await.is_ok() {
                seen.push(progress.borrow_and_update().clone());
            }
            seen
        });
        if streaming {
            let mut stream = sample.plugin.execute_stream(call).await.unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap().json, json!("done"));
            assert!(stream.next().await.is_none());
        } else {
            assert_eq!(sample.plugin.execute(call).await.unwrap().json, json!("done"));
        }
        let seen = seen.await.unwrap();
        assert_eq!(seen.last().unwrap().fraction, Some(1.0));
        assert_eq!(seen.last().unwrap().message, "step 3");
        assert!(seen.len() >= 3, "{seen:?}");
    }
}

#[tokio::test]
async fn configuration_is_applied_and_asked_for() {
    let sample = load("Configured").await;
    sample.plugin.initialize(json!({"a": 1})).await.unwrap();
    assert_eq!(sample.plugin.current_config().await.unwrap(), json!({"a": 1}));
    assert_eq!(sample.plugin.config_schema().await.unwrap(), json!({"type": "object"}));
    let error = sample.plugin.initialize(json!({"refuse": true})).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::InvalidConfig, "refused"));
    assert_eq!(error.failure().unwrap().kind, "ValueError");
    assert_eq!(sample.plugin.current_config().await.unwrap(), json!({"a": 1}));
    sample.plugin.cleanup().await.unwrap();
    let said = sample.log.tail(5);
    assert!(said.iter().any(|record| record.message == "cleaned" && record.source == LogSource::Stdout), "{said:?}");
    assert_eq!(sample.plugin.execute(Call::new()).await.unwrap_err().code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn what_a_plugin_says_reaches_the_log_with_its_call() {
    let sample = load("Echo").await;
    let call = Call::new().method("say");
    let id = call.id();
    sample.plugin.execute(call).await.unwrap();
    let has = |source: LogSource, level: LogLevel, message: &str| {
        let records = sample.log.tail(10);
        records.iter().any(|r| (r.source, r.level, r.message.as_str()) == (source, level, message))
    };
    assert!(
        common::eventually(5, || {
            has(LogSource::Stdout, LogLevel::Info, "to stdout")
                && has(LogSource::Stdout, LogLevel::Info, "from C")
                && has(LogSource::Stderr, LogLevel::Warn, "to stderr")
                && has(LogSource::Log, LogLevel::Warn, "sample.words: logged 7")
        })
        .await,
        "{:?}",
        sample.log.tail(10)
    );
    let records = sample.log.tail(10);
    assert!(records.iter().all(|record| record.call == Some(id) || record.source == LogSource::Host), "{records:?}");
}

/// Output is in the log when the call has ended, even if its last line is incomplete, and the next call's output is a record of its own.
#[tokio::test]
async fn a_line_without_an_end_is_the_calls_that_printed_it() {
    let sample = load("Echo").await;
    let printed = || -> Vec<_> {
        let records = sample.log.tail(usize::MAX).into_iter();
        let printed = records.filter(|record| matches!(record.source, LogSource::Stdout | LogSource::Stderr));
        printed.map(|record| (record.source, record.call, record.message)).collect()
    };
    let moons = "\u{1f642}".repeat(3);
    let long = format!("a{}", "\u{1f642}".repeat(PluginLog::MAX_MESSAGE / 4));
    for text in ["half", &moons, &long] {
        let call = Call::new().method("half").arg(text);
        let (id, before) = (Some(call.id()), printed().len());
        sample.plugin.execute(call).await.unwrap();
        let lines = printed().split_off(before);
        assert!(lines.iter().all(|(_, call, line)| *call == id && line.len() <= PluginLog::MAX_MESSAGE), "{lines:?}");
        for source in [LogSource::Stdout, LogSource::Stderr] {
            let lines = lines.iter().filter(|line| line.0 == source);
            assert_eq!(lines.map(|line| line.2.as_str()).collect::<String>(), text);
        }
    }
    let call = Call::new().method("half_in_stream").arg("streamed");
    let (id, before) = (Some(call.id()), printed().len());
    sample.plugin.execute_stream(call).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(printed().split_off(before), [(LogSource::Stdout, id, "streamed".to_owned())]);
}

/// Even if the call is over before the thread that sent its request continues, while another thread reads the worker's output.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn output_of_short_calls_belongs_to_their_calls() {
    let sample = load("Echo").await;
    for number in 0..300 {
        let text = format!("line {number}\n");
        let (unary, stream) = (Call::new().method("half"), Call::new().method("half_in_stream"));
        let (id, streamed) = (unary.id(), stream.id());
        sample.plugin.execute(unary.arg(text.as_str())).await.unwrap();
        let read = sample.plugin.execute_stream(stream.arg(text.as_str())).await.unwrap();
        read.try_collect::<Vec<_>>().await.unwrap();
        let records = sample.log.tail(3).into_iter();
        let mut printed: Vec<_> = records.map(|record| (record.call, record.source, record.message)).collect();
        // The two pipes are read concurrently.
        printed.get_mut(..2).unwrap().sort_by_key(|(_, source, _)| *source == LogSource::Stderr);
        let text = text.trim_end();
        let expected = [(id, LogSource::Stdout), (id, LogSource::Stderr), (streamed, LogSource::Stdout)];
        let expected = expected.map(|(call, source)| (Some(call), source, text.to_owned()));
        assert_eq!(printed, expected);
    }
}

#[tokio::test]
async fn limits_hold_on_both_ways() {
    let sample = load_with("Echo", json!({"limits": {"payload_mb": 1}})).await;
    let long = "x".repeat(3 << 20);
    let error = sample.plugin.execute(Call::new().arg(long)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    let error = sample.plugin.execute(Call::new().method("big").arg(3 << 20)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    let large = sample.plugin.execute(Call::new().method("big").arg(900_000)).await.unwrap();
    assert_eq!(large.json.as_str().unwrap().len(), 900_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrency_and_replicas_run_calls_side_by_side() {
    let concurrent = load_with("Several", json!({"concurrency": 2})).await;
    let meet = || concurrent.plugin.execute(Call::new().method("meet"));
    let (one, two) = tokio::join!(meet(), meet());
    assert_eq!((one.unwrap().json, two.unwrap().json), (json!(false), json!(false)));

    let replicated = load_with("Progress", json!({"replicas": 2})).await;
    let long = || replicated.plugin.execute(Call::new().arg(1).arg(0.5));
    let (one, two) = tokio::join!(long(), long());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(replicated.plugin.stats().await.unwrap().instances.len(), 2);
}

#[tokio::test]
async fn async_plugins_work() {
    let sample = load("Async").await;
    sample.plugin.initialize(json!({})).await.unwrap();
    let result = sample.plugin.execute(Call::new().named("text", "a")).await.unwrap();
    assert_eq!(result.json, json!({"text": "a", "same_loop": true}));
    let stream = sample.plugin.execute_stream(Call::new().arg(2)).await.unwrap();
    assert_eq!(stream.count().await, 2);
}

#[tokio::test]
async fn a_small_call_takes_well_under_a_millisecond() {
    let sample = load("Echo").await;
    sample.plugin.execute(Call::new()).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..300 {
        let started = Instant::now();
        sample.plugin.execute(Call::new().named("text", "12345678901234567890")).await.unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    println!("p50 {:?}, p90 {:?}", times[150], times[270]);
    assert!(times[150] < Duration::from_millis(5), "a delayed acknowledgement takes 40 ms: {:?}", times[150]);
}

#[tokio::test]
async fn wrong_manifests_are_reported() {
    for (more, code, part) in [
        (json!({"module": "no_such_module"}), ErrorCode::InvalidManifest, "no_such_module"),
        (json!({"class": "NoSuchClass"}), ErrorCode::InvalidManifest, "NoSuchClass"),
        (json!({"module": "broken_import"}), ErrorCode::PluginFailed, "broken on purpose"),
        (json!({"module": "broken_syntax"}), ErrorCode::PluginFailed, "SyntaxError"),
        (json!({"class": "Raises"}), ErrorCode::PluginFailed, "not today"),
    ] {
        let sample = load_with("Echo", more.clone()).await;
        let error = sample.plugin.execute(Call::new()).await.unwrap_err();
        assert_eq!(error.code(), code, "{more}: {error}");
        assert!(error.message().contains(part), "{error}");
    }
    for python in ["/no/such/python", "/bin/false"] {
        let failed = load_from(manifest("Echo", json!({"python_path": python}))).await;
        let error = failed.err().unwrap();
        assert!(matches!(error.code(), ErrorCode::NotFound | ErrorCode::Unavailable), "{error}");
        assert!(error.message().contains(python), "{error}");
    }
}
