//! What components print becomes records of the call that printed it, line by line, and explains a crash.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use bivium_interface::{Call, ErrorCode, LogSource, PluginInterface};
use bivium_records::PluginLog;
use common::speaker::{Speech, speaker};
use common::{Loaded, engine, try_load};
use serde_json::json;

async fn load(speeches: &[Speech<'_>]) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, speaker(speeches)).unwrap();
    let loaded = try_load(engine(), &path, json!({})).await.unwrap();
    loaded.plugin.initialize(json!({})).await.unwrap();
    loaded
}

#[tokio::test]
async fn a_line_without_an_end_is_the_calls_that_printed_it() {
    let loaded = load(&[
        Speech { name: "half", stream: "stdout", text: b"whole\nhalf", traps: false },
        Speech { name: "rest", stream: "stdout", text: b"a rest\n", traps: false },
        Speech { name: "last", stream: "stderr", text: b"at the end", traps: true },
    ])
    .await;
    let mut expected = Vec::new();
    for (method, lines, source, works) in [
        ("half", vec!["whole", "half"], LogSource::Stdout, true),
        ("rest", vec!["a rest"], LogSource::Stdout, true),
        ("last", vec!["at the end"], LogSource::Stderr, false),
    ] {
        let call = Call::new().method(method);
        expected.extend(lines.into_iter().map(|line| (source, Some(call.id()), line.to_owned())));
        assert_eq!(loaded.plugin.execute(call).await.is_ok(), works, "{method}");
        // All records are there when the call has ended.
        let records = loaded.log.tail(10).into_iter().filter(|record| record.source != LogSource::Host);
        let records: Vec<_> = records.map(|record| (record.source, record.call, record.message)).collect();
        assert_eq!(records, expected);
    }
}

#[tokio::test]
async fn a_long_line_comes_in_pieces_of_whole_characters() {
    let text = format!("a{}", "\u{1f642}".repeat(PluginLog::MAX_MESSAGE / 2));
    let loaded = load(&[Speech { name: "long", stream: "stdout", text: text.as_bytes(), traps: false }]).await;
    loaded.plugin.execute(Call::new().method("long")).await.unwrap();
    let lines: Vec<String> = loaded.log.tail(10).into_iter().map(|record| record.message).collect();
    assert!(lines.iter().all(|line| line.len() <= PluginLog::MAX_MESSAGE), "{lines:?}");
    assert_eq!((lines.concat(), lines.len()), (text, 3));
}

#[tokio::test]
async fn a_crash_is_told_by_the_last_words_of_its_call() {
    let rust =
        b"\nthread 'main' panicked at src/lib.rs:5:9:\nno more \x1b[31mapples\nnote: run with `RUST_BACKTRACE=1`\n";
    let loaded = load(&[
        Speech { name: "earlier", stream: "stderr", text: b"an earlier call's", traps: false },
        Speech { name: "silent", stream: "stdout", text: b"a result", traps: true },
        Speech { name: "panic", stream: "stderr", text: rust, traps: true },
        Speech { name: "assert", stream: "stderr", text: b"Assertion failed: n > 0 (app.c: run: 7)", traps: true },
    ])
    .await;
    let trapped = "the component trapped: wasm `unreachable` instruction executed";
    loaded.plugin.execute(Call::new().method("earlier")).await.unwrap();
    let crashed = async |method: &'static str, sentence: &str| {
        let error = loaded.plugin.execute(Call::new().method(method)).await.unwrap_err();
        assert_eq!((error.code(), error.message(), error.help()), (ErrorCode::Crashed, sentence, None));
        error.failure().unwrap().clone()
    };
    crashed("silent", trapped).await;
    let panic = "thread 'main' panicked at src/lib.rs:5:9: no more \\u{1b}[31mapples";
    let failure = crashed("panic", &format!("{panic} ({trapped})")).await;
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("trap", panic));
    assert!(failure.traceback.starts_with("thread 'main'") && !failure.traceback.contains('\u{1b}'), "{failure:?}");
    assert!(failure.traceback.ends_with("\n<unknown>"), "{failure:?}");
    crashed("assert", &format!("Assertion failed: n > 0 (app.c: run: 7) ({trapped})")).await;
}
