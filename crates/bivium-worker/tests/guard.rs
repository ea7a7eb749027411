//! Workers whose guard is stopped or traced, and processes that are hard to end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::io::Read;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bivium_interface::{Call, ErrorCode, PluginInterface};
use common::{Fixture, eventually, exists, is_alive, kill, load_with, parent, send};
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::json;

/// How long a call may take beyond its deadline if everything hangs: two seconds until its worker is ended, two until its
/// guard is ended, and the time to find and end what is left.
const GRACE: Duration = Duration::from_secs(5);

/// Stops its own guard, in two ways; starts chains of processes, each of which lives only until it has started the
/// next. Their open file is closed when the last one has ended.
const HOSTILE: &str = r#"
import ctypes, os, signal, time

class P:
    def execute(self):
        return "up"

    def stop_guard(self, how):
        if how == "ptrace":
            attach, libc = 16, ctypes.CDLL(None, use_errno=True)
            assert libc.ptrace(attach, os.getppid(), 0, 0) == 0, os.strerror(ctypes.get_errno())
            return "traced"
        os.kill(os.getppid(), signal.SIGSTOP)
        return "stopped"

    def hang(self):
        ctypes.PyDLL(None).sleep(100)  # with the interpreter lock

    def sleep(self):
        time.sleep(100)

    def hang_after(self, how):
        self.stop_guard(how)
        self.hang()

    def count(self):
        while True:
            yield 1

    def hop(self, fifo, chains, nap):
        os.mkfifo(fifo)
        held = os.open(fifo, os.O_RDWR)
        for _ in range(chains):
            if os.fork() == 0:
                while True:
                    if os.fork():
                        os._exit(0)
                    os.setsid()
                    time.sleep(nap)
        os.close(held)
"#;

struct Hostile {
    _dir: tempfile::TempDir,
    sample: Fixture,
    worker: u32,
    guard: u32,
}

async fn hostile() -> Hostile {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostile.py"), HOSTILE).unwrap();
    let sample = load_with("P", json!({"module": "hostile", "source": dir.path()})).await;
    sample.plugin.execute(Call::new()).await.unwrap();
    let worker = sample.pids().await[0];
    Hostile { _dir: dir, sample, worker, guard: parent(worker) }
}

impl Hostile {
    async fn stop_guard(&self, how: &str) {
        if how == "by its worker" || how == "ptrace" {
            self.sample.ask("stop_guard", &[json!(how)]).await.unwrap();
        } else {
            send(self.guard, Signal::STOP);
        }
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", self.guard)).unwrap();
        assert!(eventually(5, || stat().contains(") T ") || stat().contains(") t ")).await, "{}", stat());
    }

    async fn gone(&self) -> bool {
        eventually(5, || !is_alive(self.worker) && !exists(self.guard)).await
    }
}

const WAYS: [&str; 3] = ["from outside", "by its worker", "ptrace"];

#[tokio::test]
async fn a_stopped_guard_makes_no_deadline_endless() {
    for how in WAYS {
        for method in ["hang", "sleep"] {
            let hostile = hostile().await;
            hostile.stop_guard(how).await;
            let started = Instant::now();
            let call = Call::new().method(method).timeout(Duration::from_millis(300));
            let error = hostile.sample.plugin.execute(call).await.unwrap_err();
            assert!(started.elapsed() < GRACE, "{how} {method}: {:?}", started.elapsed());
            assert_eq!(error.code(), ErrorCode::Timeout, "{how} {method}: {error}");
            if method == "hang" {
                assert!(hostile.gone().await, "{how}");
                // A stopped guard is continued; a traced one cannot be.
                let hung = "its guard hung";
                assert_eq!(error.message().contains(hung), how == "ptrace", "{how}: {error}");
                let told = hostile.sample.log.tail(10);
                assert_eq!(told.iter().any(|record| record.message.contains(hung)), how == "ptrace", "{told:?}");
            }
            // The next call is served, by another worker if necessary, and the plugin ends in time.
            assert_eq!(hostile.sample.ask("execute", &[]).await.unwrap(), json!("up"), "{how} {method}");
            let started = Instant::now();
            hostile.sample.plugin.cleanup().await.unwrap();
            assert!(started.elapsed() < Duration::from_secs(8), "{how} {method}: {:?}", started.elapsed());
            assert!(hostile.gone().await, "{how} {method}");
        }
    }
}

#[tokio::test]
async fn a_guard_that_is_stopped_in_the_middle_keeps_no_call_and_no_stream() {
    for how in ["by its worker", "ptrace"] {
        let hostile = hostile().await;
        let call = Call::new().method("hang_after").arg(how);
        let handle = call.handle().clone();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            handle.cancel();
            Instant::now()
        };
        let (result, at) = tokio::join!(hostile.sample.plugin.execute(call), cancel);
        assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled);
        assert!(at.elapsed() < GRACE, "{how}: {:?}", at.elapsed());
        assert!(hostile.gone().await, "{how}");
    }
    let hostile = hostile().await;
    let call = Call::new().method("count").timeout(Duration::from_secs(1));
    let mut stream = hostile.sample.plugin.execute_stream(call).await.unwrap();
    stream.next().await.unwrap().unwrap();
    hostile.stop_guard("from outside").await;
    let started = Instant::now();
    let last = stream.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().code(), ErrorCode::Timeout);
    assert!(started.elapsed() < GRACE);
}

#[tokio::test]
async fn a_worker_that_dies_under_a_stopped_guard_is_told_and_leaves_nothing() {
    let hostile = hostile().await;
    hostile.stop_guard("from outside").await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        kill(hostile.worker);
        Instant::now()
    };
    let (result, at) = tokio::join!(hostile.sample.ask("sleep", &[]), kill);
    let error = result.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Crashed, "{error}");
    assert!(at.elapsed() < GRACE);
    assert!(hostile.gone().await);
    assert_eq!(hostile.sample.ask("execute", &[]).await.unwrap(), json!("up"));
}

#[tokio::test]
async fn a_plugin_that_is_dropped_under_a_stopped_guard_leaves_nothing() {
    for how in WAYS {
        let Hostile { _dir, sample, worker, guard } = {
            let hostile = hostile().await;
            hostile.stop_guard(how).await;
            hostile
        };
        let Fixture { plugin, exchange, .. } = sample;
        drop(plugin);
        assert!(eventually(6, || !is_alive(worker) && !exists(guard)).await, "{how}");
        assert!(eventually(5, || exchange.usage().areas == 0).await, "{how}");
    }
}

/// Sends a message when no process has the pipe open for writing any more.
fn closed(fifo: &Path) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    let mut pipe = std::fs::File::open(fifo).unwrap();
    std::thread::spawn(move || {
        pipe.read_to_end(&mut Vec::new()).unwrap();
        sender.send(())
    });
    receiver
}

#[tokio::test]
async fn processes_that_fork_and_exit_are_ended_whatever_ends_the_worker() {
    for way in ["unload", "crash", "deadline", "from outside", "ptrace"] {
        let hostile = hostile().await;
        let fifo = hostile._dir.path().join("fifo");
        // A stopped guard does not reap processes that have ended, and the process table is limited.
        let (chains, nap) = if WAYS.contains(&way) { (1, 0.002) } else { (10, 0.0002) };
        hostile.sample.ask("hop", &[json!(fifo), json!(chains), json!(nap)]).await.unwrap();
        let all_gone = closed(&fifo);
        assert!(all_gone.try_recv().is_err(), "the processes run");
        match way {
            "unload" => hostile.sample.plugin.cleanup().await.unwrap(),
            "crash" => kill(hostile.worker),
            "deadline" => {
                let call = Call::new().method("hang").timeout(Duration::from_millis(100));
                hostile.sample.plugin.execute(call).await.unwrap_err();
            }
            how => {
                hostile.stop_guard(how).await;
                hostile.sample.plugin.cleanup().await.unwrap();
            }
        }
        let gone = tokio::task::spawn_blocking(move || all_gone.recv_timeout(GRACE)).await.unwrap();
        assert!(gone.is_ok(), "{way}: processes are left");
        assert!(hostile.gone().await, "{way}");
        let told = hostile.sample.log.tail(10);
        assert!(!told.iter().any(|record| record.message.contains("could not be ended")), "{way}: {told:?}");
    }
}
