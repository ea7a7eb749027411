//! Processes that are killed while they work: the worker, the host, and what they leave behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bivium::{Call, ErrorCode};
use bivium_tests::manager;
use rustix::process::{Pid, Signal, kill_process};

/// Far longer than ending takes on a busy machine, far shorter than the sleep of a plugin that does not end.
const SOON: Duration = Duration::from_secs(10);

/// The process ids that `stubborn` writes, when it has written them.
fn pids(marks: &Path) -> Vec<u32> {
    let file = marks.join("pids");
    until(Duration::from_secs(20), || file.exists());
    let text = std::fs::read_to_string(file).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Waits until the condition is true; fails the test if it takes longer than `longest`.
fn until(longest: Duration, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < longest, "the condition is still false after {longest:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

/// Whether a process runs. A process that is dead but not reaped does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// The exchange directories that a process has open.
fn sessions(pid: u32) -> Vec<PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    let is_session = |dir: &Path| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bivium-"));
    targets.filter_map(|target| target.ancestors().find(|dir| is_session(dir)).map(Path::to_owned)).collect()
}

fn host(marks: &Path, how: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.arg(marks).arg(how).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_a_typed_error_at_once_and_the_next_call_works() {
    let dir = tempfile::tempdir().unwrap();
    let manager = manager(&dir.path().join("data")).unwrap();
    manager.load("stubborn").await.unwrap();
    for how in ["sleep", "lock"] {
        let marks = dir.path().join(how);
        std::fs::create_dir(&marks).unwrap();
        let call = Call::new().named("marks", marks.to_str().unwrap()).named("how", how);
        let running = tokio::spawn({
            let manager = manager.clone();
            async move { manager.execute("stubborn", call).await }
        });
        let pids = tokio::task::block_in_place(|| pids(&marks));
        let killed = Instant::now();
        signal(pids[0], Signal::KILL);
        let error = running.await.unwrap().unwrap_err();
        assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
        assert_eq!(error.code(), ErrorCode::Crashed);
        let text = error.to_string();
        assert!(text.contains("SIGKILL") && text.contains("the last words"), "{text}");
        for pid in pids {
            tokio::task::block_in_place(|| until(SOON, || !runs(pid)));
        }
    }
    let marks = dir.path().to_str().unwrap();
    let idle = manager.execute("stubborn", Call::new().named("marks", marks).named("how", "idle")).await.unwrap();
    assert_eq!(idle.json["idle"], true);
    let children = pids(dir.path());
    manager.unload("stubborn").await.unwrap();
    for pid in children {
        tokio::task::block_in_place(|| until(SOON, || !runs(pid)));
    }
}

#[test]
fn a_killed_host_takes_its_workers_with_it_and_the_next_one_tidies_up() {
    for how in ["idle", "sleep", "spin", "lock"] {
        let marks = tempfile::tempdir().unwrap();
        let mut host = host(marks.path(), how);
        let pids = pids(marks.path());
        let sessions = sessions(host.id());
        assert!(pids.iter().all(|pid| runs(*pid)) && !sessions.is_empty(), "{how}");
        host.kill().unwrap();
        host.wait().unwrap();
        for pid in &pids {
            let took = until(SOON, || !runs(*pid));
            println!("{how}: {pid} gone after {took:?}");
        }
        drop(manager(&marks.path().join("data")).unwrap());
        assert!(sessions.iter().all(|session| !session.exists()), "{sessions:?}");
    }
}

#[test]
fn ctrl_c_ends_cleanly_with_status_130() {
    let marks = tempfile::tempdir().unwrap();
    let mut command = bivium_tests::bivium(&marks.path().join("data")).unwrap();
    command.args(["run", "stubborn", "how=spin", &format!("marks={}", marks.path().display())]);
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pids = pids(marks.path());
    let sessions = sessions(program.id());
    signal(program.id(), Signal::INT);
    let status = program.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    for pid in pids {
        until(SOON, || !runs(pid));
    }
    assert!(!sessions.is_empty() && sessions.iter().all(|session| !session.exists()), "{sessions:?}");
}
