//! What a killed host leaves is removed by the next one; hosts that are running or starting lose nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Barrier;

use bivium_exchange::Exchange;

const ROOT: &str = "BIVIUM_TEST_EXCHANGE_ROOT";

/// Not a test by itself: the other tests run it in a process that they kill.
#[test]
fn host_to_be_killed() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let exchange = Exchange::builder().root(PathBuf::from(root)).open().unwrap();
    let _blob = exchange.write(b"data", "text/plain").unwrap();
    let area = exchange.area("worker").unwrap();
    fs::write(area.path().join("file"), "x").unwrap();
    println!("\nopen:{}", exchange.directories()[0].display());
    loop {
        std::thread::park();
    }
}

/// A host in a process of its own, and the directory that it holds.
struct Host {
    process: Child,
    session: PathBuf,
    _stdout: BufReader<ChildStdout>,
}

impl Host {
    fn start(root: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host_to_be_killed", "--nocapture"])
            .env(ROOT, root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("open:") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the host ended before it was ready");
        }
        let session = PathBuf::from(line.trim_start_matches("open:").trim_end());
        Self { process, session, _stdout: stdout }
    }

    fn kill(mut self) -> PathBuf {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::mem::take(&mut self.session)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn names(root: &Path) -> Vec<String> {
    root.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_session_of_a_killed_host_is_removed_and_that_of_a_running_one_stays() {
    let root = tempfile::tempdir().unwrap();
    let (dead, living) = (Host::start(root.path()), Host::start(root.path()));
    let dead = dead.kill();
    assert!(dead.exists() && living.session.exists());
    let exchange = Exchange::builder().root(root.path()).open().unwrap();
    assert!(!dead.exists() && living.session.join("blobs").exists());
    drop(exchange);
    let living = living.kill();
    drop(Exchange::builder().root(root.path()).open().unwrap());
    assert!(!living.exists());
    assert!(names(root.path()).is_empty());
}

#[test]
fn hosts_that_start_at_once_reclaim_together_and_lose_nothing() {
    const HOSTS: usize = 8;
    const ROUNDS: usize = 20;
    let root = tempfile::tempdir().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    for n in 0..50 {
        let session = root.path().join(format!("bivium-{uid}-{n:012x}"));
        fs::create_dir_all(session.join("areas/worker/deep/er")).unwrap();
        fs::write(session.join("areas/worker/deep/file"), "x").unwrap();
        if n % 5 > 0 {
            fs::write(session.join("lock"), "").unwrap();
        }
    }
    let other_process = Host::start(root.path());
    let barrier = Barrier::new(HOSTS);
    std::thread::scope(|scope| {
        for _ in 0..HOSTS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..ROUNDS {
                    let exchange = Exchange::builder().root(root.path()).open().unwrap();
                    let blob = exchange.write(b"data", "text/plain").unwrap();
                    let area = exchange.area("worker").unwrap();
                    assert_eq!(fs::read(blob.path()).unwrap(), b"data");
                    fs::write(area.path().join("file"), "x").unwrap();
                    area.adopt("file", "text/plain").unwrap();
                }
            });
        }
    });
    assert_eq!(names(root.path()), [other_process.session.file_name().unwrap().to_str().unwrap()]);
    other_process.kill();
    drop(Exchange::builder().root(root.path()).open().unwrap());
    assert!(names(root.path()).is_empty());
}
