use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bivium_interface::ErrorCode;
use serde_json::Value;

use super::*;
use crate::small_disk::SmallDisk;

const LONG: Duration = Duration::from_secs(60);

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn file(path: &Path) -> Option<Arc<dyn AuditSink>> {
    Some(Arc::new(AuditFile::open(path).unwrap()))
}

fn deny(auditor: &Auditor) -> Result<()> {
    auditor.denied(1, Some(CallId::next()), "permissions.network", "https://x", "it is not in the manifest")
}

fn use_secret(auditor: &Auditor) -> Result<()> {
    auditor.granted(1, None, "permissions.secrets", "KEY for https://x")
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The recorded number of missing records of one kind.
fn left_out(lines: &[Value], what: &str) -> u64 {
    let told = lines.iter().filter(|line| line["decision"] == "left-out" && line["resource"] == what);
    told.map(|line| line["left_out"].as_u64().unwrap()).sum()
}

#[test]
fn records_are_lines_of_json_for_this_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = PluginLog::new("p");
    let auditor = Auditor::new("p", file(&path), log.clone());
    auditor.granted(1, None, "permissions.env", "LANG").unwrap();
    deny(&auditor).unwrap();
    let lines = lines(&path);
    assert_eq!((lines[0]["decision"].as_str(), lines[1]["decision"].as_str()), (Some("granted"), Some("denied")));
    assert_eq!(lines[1]["reason"], "it is not in the manifest");
    assert!(lines[0].get("left_out").is_none());
    assert!(log.tail(1)[0].message.starts_with("denied: permissions.network https://x"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn many_records_of_one_kind_do_not_hide_another_and_the_count_of_missing_ones_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let auditor = Auditor::new("p", file(&path), PluginLog::new("p"));
    let flood = u64::from(Auditor::RECORDS) * 3;
    for n in 0..flood {
        deny(&auditor).unwrap();
        auditor.granted(1, None, "permissions.network", "https://y").unwrap();
        if n == flood - 1 {
            use_secret(&auditor).unwrap();
        }
    }
    let count = |what: &str, lines: &[Value]| lines.iter().filter(|line| line["permission"] == what).count() as u64;
    assert_eq!(count("permissions.secrets", &lines(&path)), 1);
    // No further record is written, and the auditor is not dropped.
    until("the count is told", || {
        let lines = lines(&path);
        left_out(&lines, "denials") + left_out(&lines, "grants") + count("permissions.network", &lines) == 2 * flood
    });
    let lines = lines(&path);
    assert!(left_out(&lines, "denials") > 0 && left_out(&lines, "grants") > 0);
    let told = lines.iter().find(|line| line["resource"] == "denials").unwrap();
    assert!(told["reason"].as_str().unwrap().contains("denials were left out: more than 1000 in a second"), "{told}");
}

#[test]
fn with_enforce_no_use_happens_that_is_one_too_many_to_be_recorded_and_denials_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let auditor = Auditor::new("p", file(&path), PluginLog::new("p")).enforced();
    let flood = u64::from(Auditor::RECORDS) * 3;
    let uses = |permission| -> Vec<PluginError> {
        let each = (0..flood).map(|_| auditor.granted(1, None, permission, "https://y"));
        each.filter_map(Result::err).collect()
    };
    let (secrets, grants) = (uses("permissions.secrets"), uses("permissions.network"));
    for (refused, name) in [(&secrets, "uses of secrets"), (&grants, "grants")] {
        assert!(!refused.is_empty(), "{name}");
        for error in refused {
            assert_eq!((error.code(), error.plugin()), (ErrorCode::ResourceExhausted, Some("p")));
            let text = error.to_string();
            for part in ["nothing that is not recorded", &format!("records at most 1000 {name}"), "remove `enforce`"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
    for _ in 0..flood {
        deny(&auditor).unwrap();
    }
    drop(auditor);
    let lines = lines(&path);
    let granted = |what: &str| {
        let is_it = |line: &&Value| line["permission"] == what && line["decision"] == "granted";
        lines.iter().filter(is_it).count() as u64
    };
    for (what, name, refused) in
        [("permissions.secrets", "uses of secrets", secrets), ("permissions.network", "grants", grants)]
    {
        assert_eq!(granted(what) + refused.len() as u64, flood, "each was recorded or did not happen");
        assert_eq!(left_out(&lines, name), refused.len() as u64);
    }
    assert!(left_out(&lines, "denials") > 0);
    let reason = |name: &str| lines.iter().find(|line| line["resource"] == name).unwrap()["reason"].to_string();
    assert!(reason("grants").contains("grants were refused and not recorded: more than 1000 in a second"));
    assert!(reason("denials").contains("denials were left out"));
}

#[test]
fn the_count_of_missing_records_is_recorded_at_the_plugins_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let auditor = Auditor::new("p", file(&path), PluginLog::new("p"));
    // The thread that records the count is not waited for.
    auditor.0.settles.store(true, Ordering::Relaxed);
    for _ in 0..Auditor::RECORDS * 2 {
        use_secret(&auditor).unwrap();
    }
    let written = |lines: &[Value]| lines.iter().filter(|line| line["permission"] == "permissions.secrets").count();
    drop(auditor);
    let lines = lines(&path);
    assert_eq!(written(&lines) as u64 + left_out(&lines, "uses of secrets"), u64::from(Auditor::RECORDS) * 2);
}

/// Returns what is logged with `tracing` on this thread.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let said = Captured::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = said.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_full_disk_is_reported_once_with_a_count_and_with_enforce_nothing_is_allowed() {
    let log = PluginLog::new("p");
    let said = logged(|| {
        let auditor = Auditor::new("p", file(Path::new("/dev/full")), log.clone());
        for _ in 0..5 {
            use_secret(&auditor).unwrap();
        }
        deny(&auditor).unwrap();
        let enforced = auditor.clone().enforced();
        for error in [use_secret(&enforced).unwrap_err(), deny(&enforced).unwrap_err()] {
            assert_eq!(error.code(), ErrorCode::ResourceExhausted);
            let text = error.to_string();
            for part in ["/dev/full", "nothing that is not recorded", "No space left", "free some space"] {
                assert!(text.contains(part), "{text}");
            }
        }
    });
    assert_eq!(
        said.matches("the audit log cannot be written").count(),
        2 * 2,
        "once for each, and once by its log: {said}"
    );
    assert!(said.contains("6 records are missing in the audit log"), "{said}");
    let errors = log.tail(usize::MAX);
    assert_eq!(errors.iter().filter(|record| record.level == LogLevel::Error).count(), 2);
}

#[test]
fn when_the_disk_has_space_again_the_log_continues_and_counts_missing_records() {
    let Some(disk) = SmallDisk::new() else { return };
    let path = disk.path().join("audit.jsonl");
    let auditor = Auditor::new("p", file(&path), PluginLog::new("p"));
    let enforced = Auditor::new("q", file(&path), PluginLog::new("q")).enforced();
    use_secret(&auditor).unwrap();
    disk.fill();
    // The rest of the last page has room for some records.
    until("the disk is full", || use_secret(&enforced).is_err());
    let before = lines_of(&path).len();
    for _ in 0..3 {
        use_secret(&auditor).unwrap();
    }
    disk.clear();
    use_secret(&auditor).unwrap();
    use_secret(&enforced).unwrap();
    let lines = lines_of(&path);
    assert_eq!(left_out(&lines, "records"), 3 + 1, "{lines:?}");
    assert_eq!(lines.len(), before + 4, "two counts, two records");
}

/// The complete lines. An incomplete line is left out.
fn lines_of(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_disk_that_became_read_only_is_an_error_and_a_file_that_was_taken_away_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let auditor = Auditor::new("p", file(&path), PluginLog::new("p")).enforced();
    use_secret(&auditor).unwrap();
    std::fs::rename(&path, dir.path().join("audit.1")).unwrap();
    use_secret(&auditor).unwrap();
    std::fs::remove_file(&path).unwrap();
    use_secret(&auditor).unwrap();
    assert_eq!(lines(&path).len(), 1);
    // An incomplete line of another host that was killed.
    let other = Auditor::new("p", file(&path), PluginLog::new("p"));
    for records in 1..4 {
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time_ms\":").unwrap();
        // Also for an auditor that has the file open.
        use_secret(&other).unwrap();
        assert_eq!(lines_of(&path).len(), 1 + records);
    }

    let Some(disk) = SmallDisk::new() else { return };
    let path = disk.path().join("audit.jsonl");
    let auditor = Auditor::new("p", file(&path), PluginLog::new("p")).enforced();
    use_secret(&auditor).unwrap();
    drop(auditor);
    disk.make_read_only();
    let error = AuditFile::open(&path).map(drop).unwrap_err();
    assert_ne!(error.code(), ErrorCode::Internal, "{error}");
}
