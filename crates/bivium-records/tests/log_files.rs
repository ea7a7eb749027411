//! Logs in files: several hosts with one directory, rotation while a file is read, and files after a crash.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bivium_interface::{CallId, LogLevel, LogRecord, LogSource};
use bivium_records::{KeptLog, LogFiles, LogFilter, PluginLog};

const LONG: Duration = Duration::from_secs(60);

fn say(log: &PluginLog, message: &str) {
    log.push(LogLevel::Info, LogSource::Stdout, 7, None, message);
}

fn reader(dir: &Path) -> KeptLog {
    KeptLog::new(dir, "p", LogFilter::default())
}

fn messages(records: Vec<LogRecord>) -> Vec<String> {
    records.into_iter().map(|record| record.message).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn records_are_lines_of_json_for_this_user_only() {
    let own = tempfile::tempdir().unwrap();
    let dir = own.path().join("data/logs");
    let files = LogFiles::new(&dir);
    assert!(!dir.exists(), "nothing is made before the first record");
    let log = PluginLog::kept("p", Some(files.clone()));
    let call = CallId::next();
    log.push(LogLevel::Warn, LogSource::Stderr, 7, Some(call), "two\nlines\u{1b}[31m");
    files.flush(LONG);
    let text = fs::read_to_string(dir.join("p.jsonl")).unwrap();
    assert_eq!((text.lines().count(), text.contains('\u{1b}')), (1, false), "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["plugin"], &line["instance"], &line["level"]), (&"p".into(), &7.into(), &"warn".into()));
    assert_eq!(line["call"], call.to_string());
    assert_eq!((mode(&dir), mode(&dir.join("p.jsonl"))), (0o700, 0o600));

    let read = reader(&dir).tail(1).unwrap().remove(0);
    assert_eq!((read.message, read.call), (log.tail(1)[0].message.clone(), Some(call)));
}

#[test]
fn the_last_records_are_found_by_level_and_call() {
    let own = tempfile::tempdir().unwrap();
    let files = LogFiles::new(own.path());
    let log = PluginLog::kept("p", Some(files.clone()));
    let calls = [CallId::next(), CallId::next()];
    for (n, level) in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error].into_iter().enumerate() {
        for call in calls {
            log.push(level, LogSource::Log, 7, Some(call), &n.to_string());
        }
    }
    files.flush(LONG);
    let tail = |filter, count| messages(KeptLog::new(own.path(), "p", filter).tail(count).unwrap());
    assert_eq!(tail(LogFilter::default(), 3), ["2", "3", "3"]);
    assert_eq!(tail(LogFilter::new(Some(LogLevel::Warn), None), 9), ["2", "2", "3", "3"]);
    assert_eq!(tail(LogFilter::new(Some(LogLevel::Info), Some(calls[1])), 2), ["2", "3"]);
    assert!(tail(LogFilter::default(), 0).is_empty());
    let mut other = KeptLog::new(own.path(), "q", LogFilter::default());
    assert!(other.tail(9).unwrap().is_empty() && !other.is_kept());
}

#[test]
fn a_reader_loses_nothing_to_rotation_and_old_files_go() {
    let own = tempfile::tempdir().unwrap();
    let files = LogFiles::rotating_at(own.path(), 2000);
    let log = PluginLog::kept("p", Some(files.clone()));
    let mut kept = reader(own.path());
    assert!(kept.tail(9).unwrap().is_empty(), "a reader may come first");
    let mut read = Vec::new();
    for n in 0..400 {
        say(&log, &n.to_string());
        // From time to time nothing is read for two rotations.
        if n % 40 == 39 || n % 40 < 10 {
            files.flush(LONG);
            read.extend(messages(kept.read().unwrap()));
        }
    }
    assert_eq!(read, (0..400).map(|n| n.to_string()).collect::<Vec<_>>());
    let mut names: Vec<_> =
        fs::read_dir(own.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".lock", "p.jsonl", "p.jsonl.1", "p.jsonl.2", "p.jsonl.3"]);
    for name in &names {
        let metadata = fs::metadata(own.path().join(name)).unwrap();
        assert!(metadata.len() <= 2000 && metadata.permissions().mode() & 0o777 == 0o600, "{name}");
    }
    let tail = messages(reader(own.path()).tail(30).unwrap());
    assert_eq!(tail, (370..400).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn hosts_that_share_a_directory_lose_no_record_and_break_no_line() {
    let own = tempfile::tempdir().unwrap();
    // All records fit into the files of three rotations.
    std::thread::scope(|scope| {
        for host in 0..4 {
            let files = LogFiles::rotating_at(own.path(), 120_000);
            scope.spawn(move || {
                let log = PluginLog::kept("p", Some(files.clone()));
                for n in 0..800 {
                    say(&log, &format!("{host} {n}"));
                    if n % 100 == 0 {
                        files.flush(LONG);
                    }
                }
                files.flush(LONG);
            });
        }
    });
    let mut count = 0;
    for age in ["", ".1", ".2", ".3"] {
        let text = fs::read_to_string(own.path().join(format!("p.jsonl{age}"))).unwrap_or_default();
        for line in text.lines() {
            serde_json::from_str::<LogRecord>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            count += 1;
        }
    }
    assert_eq!(count, 3200);
    let read = messages(reader(own.path()).tail(usize::MAX).unwrap());
    for host in 0..4 {
        let own: Vec<_> = read.iter().filter(|message| message.starts_with(&format!("{host} "))).collect();
        assert_eq!(own.len(), 800, "each host's records are there");
    }
}

#[test]
fn an_incomplete_line_loses_no_other_record() {
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("p.jsonl");
    fs::write(&file, "{\"time_ms\":17,\"level\":\"in").unwrap();
    let files = LogFiles::new(own.path());
    say(&PluginLog::kept("p", Some(files.clone())), "whole");
    files.flush(LONG);
    let mut kept = reader(own.path());
    assert_eq!(messages(kept.tail(9).unwrap()), ["whole"]);
    // Lines that are not records, or are too long, are ignored; an emptied file is read from its start.
    let line = fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
    fs::write(&file, format!("{}\n\n\0\n{line}\n", "x".repeat(1 << 20))).unwrap();
    assert_eq!(messages(kept.read().unwrap()), ["whole"]);
    fs::write(&file, format!("{line}\n")).unwrap();
    assert_eq!(messages(kept.read().unwrap()), ["whole"]);
}

#[test]
fn a_directory_that_cannot_be_written_loses_no_record_in_memory() {
    let own = tempfile::tempdir().unwrap();
    let dir = own.path().join("logs");
    fs::write(&dir, "no directory").unwrap();
    let files = LogFiles::new(&dir);
    let log = PluginLog::kept("p", Some(files.clone()));
    say(&log, "kept in memory");
    files.flush(LONG);
    assert_eq!(messages(log.tail(9)), ["kept in memory"]);
    // The directory is created again.
    fs::remove_file(&dir).unwrap();
    say(&log, "kept in the file");
    files.flush(LONG);
    assert_eq!(messages(reader(&dir).tail(9).unwrap()), ["kept in the file"]);
    // It does not write to a link or a pipe.
    fs::remove_file(dir.join("p.jsonl")).unwrap();
    std::os::unix::fs::symlink(own.path().join("elsewhere"), dir.join("p.jsonl")).unwrap();
    say(&log, "not through a link");
    files.flush(LONG);
    assert!(!own.path().join("elsewhere").exists());
}

#[test]
fn a_plugin_that_logs_too_much_never_waits_and_missing_records_are_counted() {
    let own = tempfile::tempdir().unwrap();
    let files = LogFiles::new(own.path());
    let log = PluginLog::kept("p", Some(files.clone()));
    // More records at once than the queue can hold.
    let long = "x".repeat(PluginLog::MAX_MESSAGE);
    for _ in 0..5000 {
        say(&log, &long);
    }
    files.flush(LONG);
    say(&log, "after the flood");
    files.flush(LONG);
    let last = reader(own.path()).tail(2).unwrap();
    assert_eq!(last[1].message, "after the flood");
    if last[0].source == LogSource::Host {
        assert!(last[0].message.contains("log records are missing here"), "{}", last[0].message);
    }
    let total: u64 = fs::read_dir(own.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(total <= 4 * LogFiles::BYTES, "{total}");
}
