//! What a component can reach through WASI: nothing without a permission, and with one only what it grants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;
#[path = "../../../tests/support/skipped.rs"]
mod skipped;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{Blob, Call, ErrorCode, HostPolicy, PluginError, PluginInterface};
use bivium_records::{AuditFile, Auditor, PluginLog};
use common::{Loaded, engine, guest, load, manifest, says, try_load};
use serde_json::{Value, json};
use skipped::skipped;

struct Probe(Loaded);

impl Probe {
    async fn new(manifest: Value) -> Self {
        let loaded = load("probe", manifest).await;
        loaded.plugin.initialize(json!({})).await.unwrap();
        Self(loaded)
    }

    async fn run(&self, method: &'static str, arguments: Value) -> Result<Value, PluginError> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let call =
            arguments.into_iter().fold(Call::new().method(method), |call, (name, value)| call.named(name, value));
        self.0.plugin.execute(call).await.map(|payload| payload.json)
    }

    /// The name of the error that WASI gives to the guest, which fails with it.
    async fn fails(&self, method: &'static str, arguments: Value) -> String {
        let error = self.run(method, arguments).await.unwrap_err();
        let message = error.failure().unwrap().message.clone();
        let expected = if message == "not-permitted" { ErrorCode::Denied } else { ErrorCode::PluginFailed };
        assert_eq!(error.code(), expected, "{error}");
        message
    }

    /// A call that exceeds a quota: the error contains these words.
    async fn goes_over(&self, method: &'static str, arguments: Value, words: &[&str]) {
        let error = self.run(method, arguments).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
        says(&error, words);
    }

    /// The denials in the plugin's log.
    fn denials(&self) -> Vec<String> {
        let messages = self.0.log.tail(usize::MAX).into_iter().map(|record| record.message);
        messages.filter(|message| message.starts_with("denied: ")).collect()
    }
}

/// Directories of the host: `data`, `other` and `read`, each with a file `note.txt`, and beside them what is not granted to
/// anybody.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["data", "other", "read"] {
            std::fs::create_dir(place.path(name)).unwrap();
            std::fs::write(place.path(name).join("note.txt"), name).unwrap();
        }
        std::fs::create_dir(place.path("secret")).unwrap();
        std::fs::write(place.path("secret/note.txt"), "secret").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The permissions that grant all three.
    fn permissions(&self) -> Value {
        json!({"filesystem": [
            {"path": self.path("data"), "guest": "/data", "mode": "write"},
            {"path": self.path("other"), "guest": "/other", "mode": "write"},
            {"path": self.path("read"), "guest": "/read", "mode": "read"},
        ]})
    }

    async fn probe(&self) -> Probe {
        Probe::new(json!({"permissions": self.permissions()})).await
    }

    async fn probe_with(&self, limits: Value) -> Probe {
        Probe::new(json!({"permissions": self.permissions(), "limits": limits})).await
    }
}

#[tokio::test]
async fn hostile_without_permissions_wasi_is_there_and_gives_nothing() {
    let probe = Probe::new(json!({})).await;
    assert_eq!(probe.run("directories", json!({})).await.unwrap(), json!([]));
    assert_eq!(probe.run("environment", json!({})).await.unwrap(), json!([]));
    assert_eq!(probe.run("arguments", json!({})).await.unwrap(), json!([[], null]));
    for dir in ["/", ".", "/tmp", ""] {
        let error = probe.run("read", json!({"dir": dir, "path": "etc/passwd"})).await.unwrap_err();
        assert_eq!(error.failure().unwrap().message, "no such preopen");
        says(&error, &["no directory (`permissions.filesystem`)"]);
        assert!(!error.to_string().contains("permissions.env"), "it asked, and does not miss it: {error}");
    }
    let error = probe.run("exit", json!({})).await.unwrap_err();
    assert_eq!((error.code(), error.help()), (ErrorCode::Crashed, None), "that had another cause");
}

#[tokio::test]
async fn files_are_read_and_written_where_that_is_granted() {
    let place = Place::new();
    let probe = place.probe().await;
    assert_eq!(probe.run("directories", json!({})).await.unwrap(), json!(["/data", "/other", "/read"]));
    assert_eq!(probe.run("read", json!({"dir": "/read", "path": "note.txt"})).await.unwrap(), "read");
    probe.run("write", json!({"dir": "/data", "path": "new.txt", "text": "hello"})).await.unwrap();
    assert_eq!(place.text("data/new.txt"), "hello");
    probe.run("make-directory", json!({"dir": "/data", "path": "sub"})).await.unwrap();
    let within = json!({"dir": "/data", "path": "new.txt", "to-dir": "/data", "to": "sub/newer.txt"});
    probe.run("rename", within).await.unwrap();
    probe
        .run("stream-out", json!({"dir": "/data", "path": "sub/newer.txt", "bytes": 3, "append": true}))
        .await
        .unwrap();
    assert_eq!(place.text("data/sub/newer.txt"), "helloxxx");
    let within = json!({"dir": "/data", "path": "note.txt", "to-dir": "/data", "to": "sub/note.txt"});
    probe.run("link", within).await.unwrap();
    assert_eq!(
        probe.run("list", json!({"dir": "/data", "path": "sub"})).await.unwrap(),
        json!(["newer.txt", "note.txt"])
    );
    probe.run("symlink", json!({"dir": "/data", "target": "sub/newer.txt", "path": "link"})).await.unwrap();
    assert_eq!(probe.run("read", json!({"dir": "/data", "path": "link"})).await.unwrap(), "helloxxx");
    assert_eq!(probe.run("stat", json!({"dir": "/data", "path": "sub/../link"})).await.unwrap(), 8);
    probe.run("unlink", json!({"dir": "/data", "path": "link"})).await.unwrap();
    assert_eq!(probe.fails("read", json!({"dir": "/data", "path": "link"})).await, "no-entry");
    assert!(probe.denials().is_empty());
}

#[tokio::test]
async fn hostile_paths_never_leave_their_directory() {
    let place = Place::new();
    let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, place.path("data").join(name)).unwrap();
    std::fs::create_dir(place.path("data/sub")).unwrap();
    link(Path::new("../secret/note.txt"), "beside");
    link(Path::new(".."), "up");
    link(&place.path("secret"), "absolute");
    link(Path::new("sub/../../secret"), "winding");
    let probe = place.probe().await;
    let absolute = place.path("secret/note.txt");
    for path in [
        "../secret/note.txt",
        "..",
        "sub/../../secret/note.txt",
        "beside",
        "up/secret/note.txt",
        "absolute/note.txt",
        "winding/note.txt",
        "/etc/passwd",
        "/",
        absolute.to_str().unwrap(),
    ] {
        for follow in [true, false] {
            for method in ["read", "open", "truncate", "write", "list", "stat"] {
                let arguments = json!({"dir": "/data", "path": path, "follow": follow, "text": "x"});
                let error = probe.fails(method, arguments).await;
                // A link as the last part that is not followed leads nowhere, but is not a file either.
                let expected =
                    if follow || path != "beside" { ["not-permitted"; 2] } else { ["loop", "not-permitted"] };
                assert!(expected.contains(&error.as_str()), "{method} {path}: {error}");
            }
        }
        let out = json!({"dir": "/data", "path": "note.txt", "to-dir": "/data", "to": path});
        let into = json!({"dir": "/data", "path": path, "to-dir": "/data", "to": "stolen.txt"});
        for (method, arguments) in [("rename", &out), ("rename", &into), ("link", &out), ("link", &into)] {
            // The links themselves may be renamed and linked: the plugin cannot use them.
            if path != "beside" {
                let error = probe.fails(method, arguments.clone()).await;
                assert!(["not-permitted", "busy"].contains(&error.as_str()), "{method} {arguments}: {error}");
            }
        }
        if path != "beside" {
            let error = probe.fails("unlink", json!({"dir": "/data", "path": path})).await;
            assert!(["not-permitted", "is-directory"].contains(&error.as_str()), "unlink {path}: {error}");
        }
    }
    let symlink = json!({"dir": "/data", "target": absolute, "path": "planted"});
    assert_eq!(probe.fails("symlink", symlink).await, "not-permitted");
    let error = probe.run("read", json!({"dir": "/data", "path": "up/secret/note.txt"})).await.unwrap_err();
    says(&error, &["may not use `up/secret/note.txt` in /data", "permissions.filesystem"]);
    assert_eq!(place.text("secret/note.txt"), "secret");
    assert_eq!(place.text("data/note.txt"), "data");
    // Recorded by directory, not by operation.
    let denials = probe.denials();
    assert_eq!(denials.len(), 1, "{denials:?}");
    assert!(denials[0].contains("permissions.filesystem") && denials[0].contains("/data"), "{denials:?}");
}

#[tokio::test]
async fn hostile_no_link_that_leads_out_is_planted_for_others_to_follow() {
    let place = Place::new();
    for dir in ["data/sub", "data/sub/deep", "data/sub/own"] {
        std::fs::create_dir(place.path(dir)).unwrap();
    }
    // Links of the owner: the first leads to the granted directory from where it is, the second out of it.
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, place.path("data").join(name)).unwrap();
    link("../note.txt", "sub/up");
    link("../../note.txt", "sub/own/up");
    link("/etc", "sub/etc");
    link(".", "here");
    let probe = place.probe().await;
    let make = |target: &str, path: &str| probe.run("symlink", json!({"dir": "/data", "target": target, "path": path}));
    for (target, path) in [
        ("/etc/passwd", "planted"),
        ("//etc/passwd", "planted"),
        ("..", "planted"),
        ("../secret", "planted"),
        ("./../secret", "planted"),
        ("here/../../secret", "planted"),
        ("here/..", "planted"),
        ("../../secret", "sub/planted"),
        ("../../../secret", "sub/deep/planted"),
        ("../../secret", "here/sub/planted"),
        ("../../secret", "sub/deep/../planted"),
    ] {
        let error = make(target, path).await.expect_err(path);
        says(&error, &["planted", "leads out of the directory", "permissions.filesystem"]);
        let planted = walk(&place.path("data")).into_iter().find(|path| path.ends_with("planted"));
        assert_eq!(planted, None, "{target} in {path}");
    }
    for (target, path) in [("note.txt", "fine"), ("../note.txt", "sub/fine"), ("../../note.txt", "sub/deep/fine")] {
        make(target, path).await.unwrap();
        assert_eq!(probe.run("read", json!({"dir": "/data", "path": path})).await.unwrap(), "data");
    }

    let moved = |method: &'static str, path: &str, to: &str| {
        probe.run(method, json!({"dir": "/data", "path": path, "to-dir": "/data", "to": to}))
    };
    for (path, to) in [("sub/up", "up"), ("sub/deep/fine", "sub/up2"), ("sub/etc", "etc"), ("sub/fine", "planted")] {
        for method in ["rename", "link"] {
            let error = moved(method, path, to).await.expect_err(path);
            says(&error, &["leads out of the directory"]);
        }
    }
    for (path, to) in [("sub/deep", "deep"), ("sub/own", "own"), ("sub", "here2"), ("sub", "here/other")] {
        // Within its directory it may be renamed, with all its content.
        if path == "sub" {
            moved("rename", path, to).await.unwrap();
            moved("rename", to, path).await.unwrap();
            continue;
        }
        says(&moved("rename", path, to).await.expect_err(path), &["leads out of the directory"]);
    }
    // Deeper in the tree, links that go up the same number of levels are allowed.
    probe.run("make-directory", json!({"dir": "/data", "path": "sub/further"})).await.unwrap();
    moved("rename", "sub/deep", "sub/further/deep").await.unwrap();
    moved("link", "sub/up", "sub/further/up").await.unwrap();
    assert_eq!(moved("rename", "sub/none", "none").await.unwrap_err().failure().unwrap().message, "no-entry");
    for path in walk(&place.path("data")) {
        let leads_out = std::fs::read_link(&path).is_ok_and(|_| {
            path.canonicalize().is_ok_and(|real| !real.starts_with(place.path("data").canonicalize().unwrap()))
        });
        assert!(!leads_out || path.ends_with("sub/etc"), "{}", path.display());
    }
}

/// Everything below a directory, without following links.
fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| {
            let below = if entry.file_type().unwrap().is_dir() { walk(&entry.path()) } else { Vec::new() };
            below.into_iter().chain([entry.path()])
        })
        .collect()
}

#[tokio::test]
async fn hostile_hard_links_and_renames_stay_in_their_directory() {
    let place = Place::new();
    let probe = place.probe().await;
    for (from, to, expected) in [
        ("/data", "/other", "cross-device"),
        ("/read", "/data", "not-permitted"),
        ("/data", "/read", "not-permitted"),
        ("/read", "/read", "not-permitted"),
    ] {
        for method in ["rename", "link"] {
            let arguments = json!({"dir": from, "path": "note.txt", "to-dir": to, "to": "taken.txt"});
            assert_eq!(probe.fails(method, arguments).await, expected, "{method} {from} {to}");
        }
    }
    for name in ["data", "other", "read"] {
        assert_eq!(place.text(&format!("{name}/note.txt")), name);
        assert!(!place.path(name).join("taken.txt").exists());
    }
}

#[tokio::test]
async fn hostile_a_directory_for_reading_is_not_written() {
    let place = Place::new();
    let probe = place.probe().await;
    let file = |more: Value| {
        let mut arguments = json!({"dir": "/read", "path": "note.txt", "text": "x", "bytes": 1});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    for (method, more) in [
        ("write", json!({})),
        ("write", json!({"path": "new.txt"})),
        ("open", json!({})),
        ("truncate", json!({})),
        ("write-unasked", json!({})),
        ("set-size", json!({})),
        ("stream-out", json!({})),
        ("stream-out", json!({"append": true})),
        ("unlink", json!({})),
        ("make-directory", json!({"path": "new"})),
        ("symlink", json!({"target": "note.txt", "path": "new"})),
    ] {
        let error = probe.run(method, file(more)).await.unwrap_err();
        assert_eq!(error.failure().unwrap().message, "not-permitted", "{method}");
        says(&error, &["/read", "permissions.filesystem", r#"`"mode": "write"`"#]);
    }
    assert_eq!(place.text("read/note.txt"), "read");
    assert_eq!(std::fs::read_dir(place.path("read")).unwrap().count(), 1);
    assert_eq!(probe.denials().len(), 1, "{:?}", probe.denials());
    // A successful call has no such error, nor has the next call that fails for another reason.
    let error = probe.run("read", json!({"dir": "/read", "path": "none"})).await.unwrap_err();
    assert!(error.help().is_none(), "{error}");
}

#[tokio::test]
async fn hostile_pipes_and_sockets_are_not_opened() {
    let place = Place::new();
    let fifo = place.path("data/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("data/socket")).unwrap();
    let probe = place.probe().await;
    for path in ["fifo", "socket"] {
        for method in ["read", "open", "write"] {
            let arguments = json!({"dir": "/data", "path": path, "text": "x"});
            let ended = tokio::time::timeout(Duration::from_secs(20), probe.fails(method, arguments)).await;
            assert_eq!(ended.expect("it waits for the other side"), "not-permitted", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn hostile_open_files_meet_their_limit_streams_too() {
    let place = Place::new();
    let probe = place.probe_with(json!({"files": 8})).await;
    let note = |times: u64| json!({"dir": "/data", "path": "note.txt", "times": times});
    assert_eq!(probe.run("keep-open", note(8)).await.unwrap(), 8);
    probe.goes_over("keep-open", note(1), &["8 files open", "limits.files"]).await;
    probe.goes_over("list", json!({"dir": "/data", "path": "."}), &["limits.files"]).await;
    probe.run("drop-kept", json!({})).await.unwrap();
    assert_eq!(probe.run("keep-streams", note(8)).await.unwrap(), 8);
    probe.goes_over("keep-streams", note(1), &["limits.files"]).await;
    probe.run("drop-kept", json!({})).await.unwrap();
    let out = json!({"dir": "/data", "path": "note.txt", "times": 9, "out": true});
    probe.goes_over("keep-streams", out, &["limits.files"]).await;
    probe.run("drop-kept", json!({})).await.unwrap();
    // A refusal that the guest handles is not an error.
    let steps = json!({"steps": [
        {"do": "keep-open", "dir": "/data", "path": "note.txt", "times": 9},
        {"do": "drop-kept"},
        {"do": "read", "dir": "/data", "path": "note.txt"},
    ]});
    let outcomes = json!([{"error": "quota"}, {"ok": null}, {"ok": "data"}]);
    assert_eq!(probe.run("steps", steps).await.unwrap(), outcomes);
    assert_eq!(probe.0.plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn hostile_lists_of_large_directories_are_bounded() {
    let place = Place::new();
    for n in 0..2000 {
        std::fs::write(place.path("data").join(n.to_string()), "").unwrap();
    }
    let probe = place.probe().await;
    assert_eq!(probe.run("keep-lists", json!({"dir": "/data", "times": 32})).await.unwrap(), 32);
    probe.goes_over("keep-lists", json!({"dir": "/data", "times": 33}), &["entries"]).await;
    // They were dropped.
    assert_eq!(probe.run("keep-lists", json!({"dir": "/data", "times": 32})).await.unwrap(), 32);
}

#[tokio::test]
async fn hostile_what_a_call_writes_into_files_meets_its_limit() {
    let place = Place::new();
    let probe = place.probe_with(json!({"blob_mb": 1})).await;
    let file = |bytes: u64, append: bool| json!({"dir": "/data", "path": "big", "bytes": bytes, "append": append});
    let mib = 1 << 20;
    for append in [false, true] {
        probe.goes_over("stream-out", file(mib + 1, append), &["limits.blob_mb", "1 MiB"]).await;
    }
    assert!(std::fs::metadata(place.path("data/big")).unwrap().len() <= 2 * mib);
    probe
        .goes_over("set-size", json!({"dir": "/data", "path": "sized", "bytes": 1_u64 << 40}), &["limits.blob_mb"])
        .await;
    let text = "x".repeat(usize::try_from(mib).unwrap());
    probe.goes_over("write", json!({"dir": "/data", "path": "new", "text": text}), &["limits.blob_mb"]).await;
    // A new call starts again from zero, and names count too, however short they are.
    let steps: Vec<Value> =
        (0..300).map(|n| json!({"do": "make-directory", "dir": "/data", "path": format!("d{n}")})).collect();
    let outcomes = probe.run("steps", json!({"steps": steps})).await.unwrap();
    let made = outcomes.as_array().unwrap().iter().filter(|outcome| outcome.get("ok").is_some()).count();
    assert_eq!(made, 256);
    assert_eq!(outcomes[256], json!({"error": "insufficient-space"}));
    probe.run("stream-out", file(mib / 2, false)).await.unwrap();
}

#[tokio::test]
async fn hostile_the_environment_is_what_is_granted_by_name() {
    // Cargo sets both for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let probe = Probe::new(json!({"permissions": {"env": ["CARGO_PKG_NAME", "BIVIUM_NOT_SET"]}})).await;
    let environment = probe.run("environment", json!({})).await.unwrap();
    assert_eq!(environment, json!([["CARGO_PKG_NAME", "bivium-wasm"]]));
}

#[tokio::test]
async fn without_clocks_time_is_the_same_in_every_run_and_moves_by_sleep_alone() {
    let steps = json!({"steps": [
        {"do": "now"}, {"do": "now"}, {"do": "sleep", "ns": 30_000_000}, {"do": "sleep", "ns": 0}, {"do": "now"},
    ]});
    let begin = json!({"ok": {"seconds": 946_684_800, "nanoseconds": 0, "monotonic": 0}});
    let later = json!({"ok": {"seconds": 946_684_800, "nanoseconds": 30_000_000, "monotonic": 30_000_000}});
    for _ in 0..2 {
        let probe = Probe::new(json!({})).await;
        let started = Instant::now();
        let times = probe.run("steps", steps.clone()).await.unwrap();
        assert_eq!(times, json!([begin, begin, later, later, later]));
        assert!(started.elapsed() >= Duration::from_millis(30), "sleep takes its time");
    }
    let call = Call::new().method("sleep").named("ns", u64::MAX).timeout(Duration::from_millis(50));
    let error = Probe::new(json!({})).await.0.plugin.execute(call).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
}

#[tokio::test]
async fn with_clocks_time_is_the_hosts() {
    let probe = Probe::new(json!({"permissions": {"clocks": true}})).await;
    let first = probe.run("now", json!({})).await.unwrap();
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(since_epoch.abs_diff(first["seconds"].as_u64().unwrap()) < 60, "{first}");
    let second = probe.run("sleep", json!({"ns": 1_000_000})).await.unwrap();
    let passed = second["monotonic"].as_u64().unwrap() - first["monotonic"].as_u64().unwrap();
    assert!(passed >= 1_000_000, "{passed}");
}

#[tokio::test]
async fn random_numbers_are_granted_or_the_same_in_every_run() {
    async fn drawn(permissions: Value) -> Value {
        Probe::new(json!({"permissions": permissions})).await.run("random", json!({})).await.unwrap()
    }
    let fixed = drawn(json!({})).await;
    assert_eq!(fixed, drawn(json!({})).await);
    assert_ne!(fixed["bytes"], fixed["insecure-bytes"]);
    let (one, two) = (drawn(json!({"random": true})).await, drawn(json!({"random": true})).await);
    for key in ["bytes", "number", "insecure-bytes", "insecure-number", "seed"] {
        assert!(one[key] != two[key] && one[key] != fixed[key], "{key}");
    }
}

#[tokio::test]
async fn the_blobs_of_a_call_are_files_while_it_runs() {
    let probe = Probe::new(json!({"permissions": {"blob_files": true}})).await;
    let place = Place::new();
    let own = probe.0.exchange.write(b"of the exchange", "text/plain").unwrap();
    let lent = Blob::by_reference(place.path("secret/note.txt"), None).unwrap();
    let run = async |method, more: Value| {
        let call = Call::new().method(method).blob("one", own.clone()).blob("two", lent.clone()).named("dir", "/blobs");
        let Value::Object(more) = more else { panic!("arguments are an object") };
        let call = more.into_iter().fold(call, |call, (name, value)| call.named(name, value));
        probe.0.plugin.execute(call).await.map(|payload| payload.json)
    };
    assert_eq!(run("directories", json!({})).await.unwrap(), json!(["/blobs"]));
    assert_eq!(run("list", json!({"path": "."})).await.unwrap(), json!(["0.txt", "1.txt"]));
    for (path, text) in [("0", "of the exchange"), ("0.txt", "of the exchange"), ("1.txt", "secret")] {
        assert_eq!(run("read", json!({"path": path})).await.unwrap(), text);
        assert_eq!(run("stat", json!({"path": path})).await.unwrap(), text.len());
    }
    for (method, path, expected) in [
        ("read", "2", "no-entry"),
        ("read", "0.wav", "no-entry"),
        ("stat", "2.txt", "no-entry"),
        ("read", "../0", "not-permitted"),
        ("read", "/etc/passwd", "not-permitted"),
        ("open", "0", "not-permitted"),
        ("truncate", "1.txt", "not-permitted"),
        ("write", "new", "not-permitted"),
        ("unlink", "0.txt", "not-permitted"),
        ("list", "0", "not-directory"),
    ] {
        let error = run(method, json!({"path": path, "text": "x"})).await.unwrap_err();
        assert_eq!(error.failure().unwrap().message, expected, "{method} {path}");
        assert_eq!(error.code() == ErrorCode::Denied, expected == "not-permitted", "{error}");
    }
    assert_eq!(place.text("secret/note.txt"), "secret");
    // A file that stays open after the call is empty, and holds no blob.
    assert_eq!(run("keep-open", json!({"path": "0", "times": 2})).await.unwrap(), 2);
    assert_eq!(probe.run("read-kept", json!({})).await.unwrap(), "");
    assert_eq!(probe.run("list", json!({"dir": "/blobs", "path": "."})).await.unwrap(), json!([]));
    assert_eq!(probe.fails("read", json!({"dir": "/blobs", "path": "0"})).await, "no-entry");
    assert_eq!(probe.0.exchange.usage().areas, 1);
    probe.0.plugin.cleanup().await.unwrap();
    assert_eq!(probe.0.exchange.usage().areas, 0);
}

#[tokio::test]
async fn the_directory_of_blobs_comes_back_if_somebody_removes_it() {
    let probe = Probe::new(json!({"permissions": {"blob_files": true}})).await;
    let own = || probe.0.exchange.write(b"of the exchange", "text/plain").unwrap();
    let run = async |method, path: &str, blob| {
        let call = Call::new().method(method).blob("one", blob).named("dir", "/blobs").named("path", path);
        probe.0.plugin.execute(call).await.map(|payload| payload.json)
    };
    let lost = own();
    assert_eq!(run("list", ".", lost.clone()).await.unwrap(), json!(["0.txt"]));
    std::fs::remove_dir_all(&probe.0.exchange.directories()[0]).unwrap();
    assert_eq!(run("list", ".", own()).await.unwrap(), json!(["0.txt"]));
    assert_eq!(run("read", "0", own()).await.unwrap(), "of the exchange");
    let error = run("read", "0", lost).await.unwrap_err();
    assert_eq!(error.failure().unwrap().message, "no-entry");
    assert_eq!(probe.run("list", json!({"dir": "/blobs", "path": "."})).await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_directory_of_blobs_is_granted_once() {
    let place = Place::new();
    let permissions = json!({"blob_files": true, "filesystem": [{"path": place.path("data"), "guest": "/blobs"}]});
    let error = try_load(engine(), &guest("probe"), json!({"permissions": permissions})).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    says(&error, &["/blobs", "permissions.blob_files", "permissions.filesystem"]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_told_when_the_plugin_is_loaded() {
    let place = Place::new();
    std::os::unix::fs::symlink(place.path("none"), place.path("dangling")).unwrap();
    for (name, code) in [
        ("none", ErrorCode::NotFound),
        ("secret/note.txt", ErrorCode::InvalidManifest),
        ("dangling", ErrorCode::InvalidManifest),
    ] {
        let permissions = json!({"filesystem": [{"path": place.path(name), "guest": "/data"}]});
        let error = try_load(engine(), &guest("probe"), json!({"permissions": permissions})).await.err().unwrap();
        assert_eq!((error.code(), error.plugin()), (code, Some("p")), "{error}");
        says(&error, &["permissions.filesystem", name]);
    }
}

#[tokio::test]
async fn hostile_no_granted_directory_leads_to_where_the_kernel_shows_itself() {
    let place = Place::new();
    let data = place.path("data").canonicalize().unwrap();
    let up = "../".repeat(data.components().count() - 1);
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(format!("{up}{target}"), data.join(name)).unwrap();
    link("proc/self", "self");
    link("proc/self/environ", "environ");
    link("sys", "sys");
    let probe = Probe::new(json!({"permissions": {"filesystem": [{"path": "/", "guest": "/", "mode": "read"}]}})).await;
    let beneath = |name: &str| format!("{}/{name}", data.to_str().unwrap().trim_start_matches('/'));
    for path in [
        "proc/self/environ".to_owned(),
        "proc/self/mem".to_owned(),
        "proc/self/cmdline".to_owned(),
        format!("proc/{}/environ", std::process::id()),
        "proc/self/root/etc/hostname".to_owned(),
        "proc/sys/kernel/hostname".to_owned(),
        "sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        "etc/../proc/self/environ".to_owned(),
        beneath("self/environ"),
        beneath("environ"),
        beneath("sys/kernel/mm/transparent_hugepage/enabled"),
    ] {
        for method in ["read", "stat"] {
            // Through a link as the last part, `stat` reports a file but shows nothing of it.
            if method == "stat" && path.ends_with("data/environ") {
                continue;
            }
            let error = probe.fails(method, json!({"dir": "/", "path": path, "follow": true, "text": "x"})).await;
            // Links of the kernel are never followed.
            let is_refused = error == "not-permitted" || error == "loop" && path.contains("self/root");
            assert!(is_refused, "{method} {path}: {error}");
        }
    }
    for path in ["proc".to_owned(), "proc/self/fd".to_owned(), "sys".to_owned(), "dev".to_owned(), beneath("self/task")]
    {
        let error = probe.fails("list", json!({"dir": "/", "path": path, "follow": true})).await;
        assert_eq!(error, "not-permitted", "list {path}");
    }
    let note = beneath("note.txt");
    // Files on disks can be read.
    probe.run("read", json!({"dir": "/", "path": note})).await.unwrap();
    let denials = probe.denials();
    assert!(denials[0].contains("permissions.filesystem"), "{denials:?}");
}

/// A directory of the machine that is mounted at a second place.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with a message, if mounting is not allowed.
    fn at(path: PathBuf, what: &Path) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let done = std::process::Command::new("mount").arg("--bind").arg(what).arg(&path).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Self(path));
        }
        skipped("nothing can be mounted here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Otherwise the directory would be removed with everything that is mounted there.
        assert!(std::process::Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

#[tokio::test]
async fn hostile_what_the_kernel_shows_beneath_a_directory_is_not_written() {
    let place = Place::new();
    let Some(_proc) = Mounted::at(place.path("data/proc"), Path::new("/proc")) else { return };
    let Some(_sys) = Mounted::at(place.path("data/sys"), Path::new("/sys")) else { return };
    std::os::unix::fs::symlink("proc/self", place.path("data/self")).unwrap();
    let probe = place.probe().await;
    for path in
        ["proc/self/environ", "proc/sys/kernel/hostname", "self/environ", "sys/kernel/mm/transparent_hugepage/enabled"]
    {
        for method in ["read", "open", "write", "truncate", "stat"] {
            let error = probe.fails(method, json!({"dir": "/data", "path": path, "follow": true, "text": "x"})).await;
            assert_eq!(error, "not-permitted", "{method} {path}");
        }
    }
    for (path, to) in [("note.txt", "proc/self/stolen"), ("proc/self/environ", "stolen")] {
        let error = probe.fails("rename", json!({"dir": "/data", "path": path, "to-dir": "/data", "to": to})).await;
        assert_eq!(error, "not-permitted", "rename {path} {to}");
    }
    for method in ["unlink", "symlink"] {
        let arguments = json!({"dir": "/data", "path": "proc/self/environ", "target": "x"});
        assert_eq!(probe.fails(method, arguments).await, "not-permitted", "{method}");
    }
    probe.run("read", json!({"dir": "/data", "path": "note.txt"})).await.unwrap();
}

/// The probe with this directory for reading, in a host whose exchange and plugin data lie beneath it.
async fn above(place: &Place, exchange: &Exchange, grant: &Path, mode: &str) -> Result<Probe, PluginError> {
    let permissions = json!({"filesystem": [{"path": grant, "guest": "/g", "mode": mode}]});
    let manifest = manifest("p", &guest("probe"), json!({"permissions": permissions}));
    let log = PluginLog::new("p");
    let mut context = PluginContext::new(log.clone(), HostPolicy::default().grant(&manifest));
    context.protected = context.protected.and(Some(place.path("secret")), "the data of plugins");
    let plugin = bivium_wasm::load(engine(), &manifest, manifest.wasm().unwrap(), exchange, context).await?;
    plugin.initialize(json!({})).await?;
    let directory = tempfile::tempdir().unwrap();
    Ok(Probe(Loaded { plugin, log, exchange: exchange.clone(), _directory: directory }))
}

#[tokio::test]
async fn hostile_what_no_plugin_may_have_is_not_read_through_a_directory_above_it() {
    let place = Place::new();
    let root = place.0.path().canonicalize().unwrap();
    let exchange = Exchange::builder().root(&root).open().unwrap();
    let blob = exchange.write(b"of another plugin", "text/plain").unwrap();
    let mut alias = None;
    for (target, name) in [("secret", "to"), ("secret/note.txt", "to-file"), ("to", "to-to"), ("../secret", "data/up")]
    {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    }
    std::fs::create_dir(root.join("secret/deep")).unwrap();
    std::fs::write(root.join("secret/deep/note.txt"), "secret").unwrap();
    let probe = above(&place, &exchange, &root, "read").await.unwrap();
    // Another host starts, and somebody mounts the same directory at another place.
    let other = Exchange::builder().root(&root).open().unwrap();
    let others = other.write(b"of another host", "text/plain").unwrap();
    let within = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let mut files = vec![within(blob.path()), within(others.path())];
    files.extend(
        [
            "secret/note.txt",
            "./secret/./note.txt",
            "read/../secret/note.txt",
            "to/note.txt",
            "to-file",
            "to-to/note.txt",
            "data/up/note.txt",
            "secret/deep/note.txt",
            "secret/deep/../note.txt",
            "to/deep/note.txt",
            "to/deep/../../to/note.txt",
        ]
        .map(str::to_owned),
    );
    if let Some(mounted) = Mounted::at(root.join("alias"), &root.join("secret")) {
        alias = Some(mounted);
        files.extend(["alias/note.txt", "alias/deep/note.txt", "data/../alias/note.txt"].map(str::to_owned));
    }
    for path in &files {
        for method in ["read", "stat", "keep-open", "keep-streams"] {
            let error = probe.fails(method, json!({"dir": "/g", "path": path, "times": 1})).await;
            assert_eq!(error, "not-permitted", "{method} {path}");
        }
    }
    let sessions = [exchange.directories(), other.directories()].concat();
    for path in sessions
        .iter()
        .map(|session| within(session))
        .chain(["secret", "to", "data/up", "secret/deep"].map(str::to_owned))
    {
        for path in [path.clone(), format!("{path}/."), format!("{path}/none/..")] {
            for method in ["list", "stat"] {
                let error = probe.fails(method, json!({"dir": "/g", "path": path})).await;
                assert_eq!(error, "not-permitted", "{method} {path}");
            }
        }
        // Nor can it find out what exists there.
        let error = probe.fails("read", json!({"dir": "/g", "path": format!("{path}/none")})).await;
        assert_eq!(error, "not-permitted", "{path}");
    }
    for method in ["write", "truncate", "unlink", "make-directory", "symlink"] {
        let arguments = json!({"dir": "/g", "path": "secret/note.txt", "text": "x", "target": "x"});
        assert_eq!(probe.fails(method, arguments).await, "not-permitted", "{method}");
    }
    for (path, to) in [("secret/note.txt", "note.txt"), ("read/note.txt", "secret/new"), ("secret", "moved")] {
        for method in ["rename", "link"] {
            let arguments = json!({"dir": "/g", "path": path, "to-dir": "/g", "to": to});
            assert_eq!(probe.fails(method, arguments).await, "not-permitted", "{method} {path}");
        }
    }
    assert_eq!((place.text("secret/note.txt"), place.text("read/note.txt")), ("secret".into(), "read".into()));
    // Everything else can be read.
    for path in ["read/note.txt", "to/../read/note.txt", "data/note.txt"] {
        probe.run("read", json!({"dir": "/g", "path": path})).await.unwrap();
    }
    probe.run("list", json!({"dir": "/g", "path": "."})).await.unwrap();
    let denials = probe.denials();
    assert!(denials.iter().any(|denial| denial.contains("it holds files of the host")), "{denials:?}");
    let error = probe.run("read", json!({"dir": "/g", "path": "secret/note.txt"})).await.unwrap_err();
    says(&error, &["may not use `secret/note.txt` in /g", "it holds files of the host", "permissions.filesystem"]);
    drop(alias);
}

#[tokio::test]
async fn what_no_plugin_may_have_is_not_granted_and_a_directory_above_it_not_for_writing() {
    let place = Place::new();
    let root = place.0.path().canonicalize().unwrap();
    let exchange = Exchange::builder().root(&root).open().unwrap();
    std::os::unix::fs::symlink("secret", root.join("link")).unwrap();
    let session = exchange.directories().remove(0);
    for refused in [&root.join("secret"), &root.join("link"), &session, &session.join("blobs"), Path::new("/dev/shm")] {
        for mode in ["read", "write"] {
            let error = above(&place, &exchange, refused, mode).await.err().unwrap();
            assert_eq!((error.code(), error.plugin()), (ErrorCode::Denied, Some("p")), "{error}");
            let shown = refused.canonicalize().unwrap();
            says(
                &error,
                &["permissions.filesystem grants", shown.to_str().unwrap(), "which lies in", "lies elsewhere"],
            );
        }
    }
    let home = directories::BaseDirs::new().unwrap().home_dir().canonicalize().unwrap();
    let temp = std::env::temp_dir().canonicalize().unwrap();
    for refused in [&root, Path::new("/"), &temp, &home] {
        let error = above(&place, &exchange, refused, "write").await.err().unwrap();
        assert_eq!((error.code(), error.plugin()), (ErrorCode::Denied, Some("p")), "{error}");
        let shown = format!("grants {} for writing", refused.display());
        says(&error, &["permissions.filesystem", &shown, "lies in it", r#""mode": "read""#]);
        above(&place, &exchange, refused, "read").await.unwrap();
    }
    above(&place, &exchange, &root.join("data"), "write").await.unwrap();
}

#[tokio::test]
async fn a_directory_in_which_the_kernel_shows_itself_is_not_granted() {
    let place = Place::new();
    std::os::unix::fs::symlink("/proc/self", place.path("linked")).unwrap();
    for (path, shown) in [
        (Path::new("/proc").to_owned(), "/proc"),
        (Path::new("/proc/self").to_owned(), "/proc"),
        (place.path("linked"), "/proc"),
        (Path::new("/sys/kernel").to_owned(), "/sys/kernel"),
        (Path::new("/dev").to_owned(), "/dev"),
    ] {
        for mode in ["read", "write"] {
            let permissions = json!({"filesystem": [{"path": path, "guest": "/data", "mode": mode}]});
            let error = try_load(engine(), &guest("probe"), json!({"permissions": permissions})).await.err().unwrap();
            assert_eq!((error.code(), error.plugin()), (ErrorCode::Denied, Some("p")), "{error}");
            says(&error, &["permissions.filesystem grants", shown, "which lies in", "lies elsewhere"]);
        }
    }
}

#[tokio::test]
async fn hostile_a_directory_that_is_swapped_for_a_link_is_not_opened() {
    let place = Place::new();
    let manifest = manifest("p", &guest("probe"), json!({"permissions": place.permissions()}));
    let granted = HostPolicy::default().grant(&manifest);
    std::fs::rename(place.path("data"), place.path("moved")).unwrap();
    std::os::unix::fs::symlink(place.path("secret"), place.path("data")).unwrap();
    let exchange = Exchange::builder().root(place.0.path()).open().unwrap();
    let context = PluginContext::new(PluginLog::new("p"), granted);
    let error =
        bivium_wasm::load(engine(), &manifest, manifest.wasm().unwrap(), &exchange, context).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::InvalidManifest, "{error}");
}

#[tokio::test]
async fn grants_and_denials_go_to_the_audit_log_once_an_instance() {
    let place = Place::new();
    let mut permissions = place.permissions();
    permissions["env"] = json!(["CARGO_PKG_NAME"]);
    let manifest = manifest("p", &guest("probe"), json!({"permissions": permissions}));
    let exchange = Exchange::builder().root(place.0.path()).open().unwrap();
    let log = PluginLog::new("p");
    let path = place.path("audit.jsonl");
    let mut context = PluginContext::new(log.clone(), HostPolicy::default().grant(&manifest));
    context.audit = Auditor::new("p", Some(Arc::new(AuditFile::open(&path).unwrap())), log);
    let plugin = bivium_wasm::load(engine(), &manifest, manifest.wasm().unwrap(), &exchange, context).await.unwrap();
    plugin.initialize(json!({})).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "", "nothing is used yet");
    let call = |method| Call::new().method(method).named("dir", "/read").named("path", "note.txt");
    let first = call("environment");
    let id = first.id().to_string();
    plugin.execute(first).await.unwrap();
    for _ in 0..3 {
        plugin.execute(call("read")).await.unwrap();
        plugin.execute(call("truncate")).await.unwrap_err();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decisions: Vec<_> = records.iter().map(|record| (&record["permission"], &record["decision"])).collect();
    let (env, files) = (json!("permissions.env"), json!("permissions.filesystem"));
    let (granted, denied) = (json!("granted"), json!("denied"));
    let expected = [(&env, &granted), (&files, &granted), (&files, &granted), (&files, &granted), (&files, &denied)];
    assert_eq!(decisions, expected, "{text}");
    assert_eq!((&records[0]["plugin"], &records[0]["resource"]), (&json!("p"), &json!("CARGO_PKG_NAME")));
    assert_eq!(records[0]["call"].as_str().map(str::to_owned).unwrap_or(records[0]["call"].to_string()), id);
    assert_eq!(
        records[4]["resource"],
        format!("read {} as /read", place.path("read").canonicalize().unwrap().display())
    );
    assert!(records[4]["reason"].as_str().unwrap().contains("reading only"), "{text}");
}
