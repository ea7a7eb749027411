//! How real workers start and end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bivium_interface::{Call, ErrorCode, PluginError, PluginInterface};
use common::{eventually, exists, is_alive, kill, kill_if_there, load, load_with, parent};
use futures_util::StreamExt;
use serde_json::json;

/// Far longer than ending takes on a busy machine, far shorter than the sleep of a plugin that does not end.
const SOON: Duration = Duration::from_secs(10);

async fn children(sample: &common::Fixture) -> Vec<u32> {
    let family = sample.plugin.execute(Call::new().method("children")).await.unwrap();
    serde_json::from_value(family.json).unwrap()
}

#[tokio::test]
async fn a_crash_is_told_at_once_and_the_next_call_works() {
    let sample = load("Families").await;
    for (kind, part) in
        [("segfault", "killed by SIGSEGV"), ("exit", "exited with status 7"), ("kill", "killed by SIGKILL")]
    {
        let family = children(&sample).await;
        let started = Instant::now();
        let error = sample.plugin.execute(Call::new().method("crash").arg(kind)).await.unwrap_err();
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        assert_eq!(error.code(), ErrorCode::Crashed);
        assert!(error.message().contains(part), "{error}");
        if kind == "segfault" {
            assert!(error.failure().unwrap().traceback.contains("Segmentation fault"), "{error:?}");
        }
        assert!(!family.into_iter().any(is_alive), "its family went with it");
    }
    sample.plugin.execute(Call::new().method("sleep").arg(0)).await.unwrap();
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 3);
}

#[tokio::test]
async fn killed_from_outside_worker_guard_or_both() {
    let sample = load("Families").await;
    for victims in [[true, false], [false, true], [true, true]] {
        let family = children(&sample).await;
        let worker = sample.pids().await[0];
        let guard = parent(worker);
        let call = sample.plugin.execute(Call::new().method("sleep").arg(60));
        let deed = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for (pid, _) in [worker, guard].into_iter().zip(victims).filter(|(_, is)| *is) {
                kill(pid);
            }
            Instant::now()
        };
        let (result, at) = tokio::join!(call, deed);
        let error = result.unwrap_err();
        assert!(at.elapsed() < SOON, "{victims:?}: {:?}", at.elapsed());
        assert_eq!(error.code(), ErrorCode::Crashed, "{victims:?}: {error}");
        let mut everyone = [vec![worker, guard], family].concat();
        if victims[1] {
            // Only the guard would find the daemon that has left its session and emptied its environment.
            kill(everyone.pop().unwrap());
        }
        assert!(eventually(5, || !everyone.iter().copied().any(is_alive)).await, "{victims:?} {everyone:?}");
        assert!(!exists(guard), "no zombie is left");
    }
    sample.plugin.execute(Call::new().method("sleep").arg(0)).await.unwrap();
}

/// The workers that still live: the pool may still list one that was just killed.
async fn live_workers(sample: &common::Fixture) -> Vec<u32> {
    let stats = sample.plugin.stats().await.unwrap();
    let workers = stats.instances.iter().map(|instance| u32::try_from(instance.id).unwrap());
    workers.filter(|worker| is_alive(*worker)).collect()
}

fn guard_of(worker: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).ok()?;
    let parent: u32 = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
    let command = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).ok()?;
    command.contains("bivium_worker").then_some(parent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_worker_is_killed_each_call_ends_once_and_as_it_should() {
    let sample = load_with("Progress", json!({"replicas": 2})).await;
    let (done, crashed) = (AtomicU32::new(0), AtomicU32::new(0));
    let enough = || done.load(Ordering::Relaxed) > 10 && crashed.load(Ordering::Relaxed) > 10;
    let killer = async {
        for n in 0_u64.. {
            tokio::time::sleep(Duration::from_millis(37 + n * 13 % 100)).await;
            if enough() {
                return;
            }
            if let Some(worker) = live_workers(&sample).await.pop() {
                // A worker whose guard was just killed has another parent, which must not be killed.
                let victim = if n % 3 == 0 { guard_of(worker) } else { Some(worker) };
                victim.into_iter().for_each(kill_if_there);
            }
        }
    };
    let caller = async || {
        while !enough() {
            match sample.plugin.execute(Call::new().arg(3).arg(0.005)).await {
                Ok(payload) if payload.json == json!("done") => done.fetch_add(1, Ordering::Relaxed),
                Err(error) if error.code() == ErrorCode::Crashed => crashed.fetch_add(1, Ordering::Relaxed),
                other => panic!("{other:?}"),
            };
        }
    };
    let all = async { tokio::join!(killer, caller(), caller(), caller()) };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("calls that end, some well and some not");
    sample.plugin.execute(Call::new().arg(1)).await.unwrap();
    let workers = live_workers(&sample).await;
    let guards = workers.iter().copied().filter_map(guard_of);
    let everyone: Vec<u32> = guards.chain(workers.iter().copied()).collect();
    drop(sample);
    assert!(eventually(5, || !everyone.iter().copied().any(exists)).await, "{everyone:?}");
}

#[tokio::test]
async fn a_call_ends_when_its_plugin_has_taken_as_long_as_its_limit_allows() {
    let sample = load_with("Stubborn", json!({"limits": {"call_ms": 300}})).await;
    let over = |error: PluginError, method: &str| {
        assert_eq!(error.code(), ErrorCode::Timeout, "{method}: {error}");
        assert!(error.message().contains("its limit of 300 ms"), "{method}: {error}");
        assert!(error.help().unwrap().contains("limits.call_ms"), "{method}: {error}");
    };
    for method in ["spin", "sleep", "endless"] {
        for listened in [false, true] {
            let call = Call::new().method(method);
            let _progress = listened.then(|| call.handle().progress());
            over(sample.plugin.execute(call).await.unwrap_err(), method);
        }
    }
    for method in ["spin", "sleep"] {
        let mut stream = sample.plugin.execute_stream(Call::new().method(method)).await.unwrap();
        over(stream.next().await.unwrap().unwrap_err(), method);
        assert!(stream.next().await.is_none());
    }
    assert_eq!(sample.plugin.execute(Call::new().method("quick")).await.unwrap().json, json!("quick"));
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 0, "no worker was killed for it");
}

#[tokio::test]
async fn a_cancelled_call_ends_in_order_where_it_can() {
    let sample = load("Stubborn").await;
    for method in ["spin", "sleep", "lock", "swallow_exceptions", "endless"] {
        let call = Call::new().method(method);
        let handle = call.handle().clone();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            handle.cancel();
            Instant::now()
        };
        let (result, at) = tokio::join!(sample.plugin.execute(call), cancel);
        let error = result.unwrap_err();
        assert_eq!((error.code(), error.message()), (ErrorCode::Cancelled, "the call was cancelled"), "{method}");
        assert!(at.elapsed() < SOON, "{method}: {:?}", at.elapsed());
    }
    assert_eq!(sample.plugin.execute(Call::new().method("quick")).await.unwrap().json, json!("quick"));
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 0, "no worker was killed for it");
}

#[tokio::test]
async fn a_call_that_does_not_stop_takes_its_worker_with_it() {
    let sample = load("Stubborn").await;
    sample.plugin.execute(Call::new().method("quick")).await.unwrap();
    let call = Call::new().method("hold_the_lock").arg(60).timeout(Duration::from_millis(500));
    let started = Instant::now();
    let error = sample.plugin.execute(call).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("its worker was killed"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(sample.plugin.execute(Call::new().method("quick")).await.unwrap().json, json!("quick"));
}

#[tokio::test]
async fn the_neighbours_of_a_call_that_does_not_stop_are_interrupted_and_have_not_crashed() {
    let dir = tempfile::tempdir().unwrap();
    let code = "import ctypes, time\nclass P:\n    def execute(self):\n        return 1\n\n    def nap(self):\n        \
                time.sleep(60)\n\n    def hang(self, lock):\n        (ctypes.PyDLL if lock else ctypes.CDLL)(None).sleep(60)\n\n    \
                def items(self):\n        yield 1\n        time.sleep(60)\n";
    std::fs::write(dir.path().join("hangs.py"), code).unwrap();
    let more = json!({"module": "hangs", "class": "P", "source": dir.path(), "concurrency": 4});
    for lock in [false, true] {
        let sample = load_with("P", more.clone()).await;
        sample.plugin.execute(Call::new()).await.unwrap();
        let mut stream = sample.plugin.execute_stream(Call::new().method("items")).await.unwrap();
        stream.next().await.unwrap().unwrap();
        let watched = Call::new().method("nap");
        let _progress = watched.handle().progress();
        let hang = async {
            // By then the other calls are in the worker.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let call = Call::new().method("hang").arg(lock).timeout(Duration::from_millis(200));
            sample.plugin.execute(call).await.unwrap_err()
        };
        let nap = sample.plugin.execute(Call::new().method("nap"));
        let (hung, nap, watched, item) = tokio::join!(hang, nap, sample.plugin.execute(watched), stream.next());
        assert_eq!(hung.code(), ErrorCode::Timeout, "{hung}");
        assert!(hung.message().contains("its worker was killed"), "{hung}");
        for neighbour in [nap.unwrap_err(), watched.unwrap_err(), item.unwrap().unwrap_err()] {
            assert_eq!(neighbour.code(), ErrorCode::Interrupted, "{neighbour}");
            assert!(neighbour.message().contains("another call in it did not stop"), "{neighbour}");
            assert!(neighbour.help().unwrap().starts_with("call again"), "{neighbour}");
        }
        sample.plugin.execute(Call::new()).await.unwrap();
        let stats = sample.plugin.stats().await.unwrap();
        assert_eq!((stats.crashes, stats.restarts), (0, 1));
        assert_eq!(stats.circuit, bivium_interface::CircuitState::Closed);
    }
}

#[tokio::test]
async fn a_worker_that_holds_the_interpreter_lock_for_seconds_is_not_killed() {
    let sample = load("Stubborn").await;
    sample.plugin.execute(Call::new().method("hold_the_lock").arg(3)).await.unwrap();
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn deadlines_cover_the_call_and_the_stream() {
    let sample = load("Stubborn").await;
    sample.plugin.execute(Call::new().method("quick")).await.unwrap();
    let call = Call::new().method("sleep").timeout(Duration::from_millis(300));
    assert_eq!(sample.plugin.execute(call).await.unwrap_err().code(), ErrorCode::Timeout);
    let call = Call::new().method("endless").timeout(Duration::from_millis(200));
    let stream = sample.plugin.execute_stream(call).await.unwrap();
    let last = stream.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().code(), ErrorCode::Timeout);
    let call = Call::new();
    call.handle().cancel();
    assert_eq!(sample.plugin.execute(call).await.unwrap_err().code(), ErrorCode::Cancelled);
    assert_eq!(sample.plugin.execute(Call::new().method("quick")).await.unwrap().json, json!("quick"));
}

#[tokio::test]
async fn a_dropped_call_leaves_a_worker_that_is_free() {
    let sample = load("Stubborn").await;
    sample.plugin.execute(Call::new().method("quick")).await.unwrap();
    for _ in 0..3 {
        let dropped = sample.plugin.execute(Call::new().method("spin"));
        assert!(tokio::time::timeout(Duration::from_millis(50), dropped).await.is_err());
        let started = Instant::now();
        assert_eq!(sample.plugin.execute(Call::new().method("quick")).await.unwrap().json, json!("quick"));
        assert!(started.elapsed() < SOON);
    }
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn a_slow_start_is_given_up_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("slow.py"), "import os, time\nprint(os.getpid())\ntime.sleep(60)\n").unwrap();
    let more = json!({"module": "slow", "source": dir.path(), "start_s": 1});
    let sample = load_with("Echo", more).await;
    let started = Instant::now();
    let error = sample.plugin.execute(Call::new()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.help().unwrap().contains("start_s"));
    assert!(started.elapsed() < SOON);
    let pid: u32 = sample.log.tail(1)[0].message.parse().unwrap();
    assert!(eventually(5, || !exists(pid)).await);

    // A start whose caller is gone is ended as well.
    let more = json!({"module": "slow", "source": dir.path()});
    let sample = load_with("Echo", more).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), sample.plugin.execute(Call::new())).await.is_err());
    let pid: u32 = sample.log.tail(1)[0].message.parse().unwrap();
    assert!(eventually(5, || !exists(pid)).await);
    assert!(eventually(5, || sample.exchange.usage().areas == 0).await);
}

#[tokio::test]
async fn an_end_before_the_handshake_is_reported_with_the_last_output() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, part) in [
        (
            "exits_at_once",
            "import os, sys\nprint('last words', file=sys.stderr)\nos._exit(0)\n",
            "exited with status 0",
        ),
        ("dies_at_once", "import os\nos.kill(os.getpid(), 9)\n", "killed by SIGKILL"),
    ] {
        std::fs::write(dir.path().join(format!("{name}.py")), text).unwrap();
        let sample = load_with("Echo", json!({"module": name, "source": dir.path()})).await;
        let error = sample.plugin.execute(Call::new()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Crashed, "{error}");
        assert!(error.message().contains(part) && error.message().contains("before it was ready"), "{error}");
        if name == "exits_at_once" {
            assert!(error.help().unwrap().contains("last words"), "{error}");
        }
    }
}

#[tokio::test]
async fn cleanup_and_drop_leave_no_process_and_no_file() {
    for clean in [true, false] {
        let sample = load("Families").await;
        let family = children(&sample).await;
        let worker = sample.pids().await[0];
        let guard = parent(worker);
        let directories = sample.exchange.directories();
        assert_eq!(sample.exchange.usage().areas, 1);
        if clean {
            sample.plugin.cleanup().await.unwrap();
            assert!(!exists(guard) && !exists(worker));
        }
        let common::Fixture { plugin, exchange, .. } = sample;
        drop(plugin);
        let everyone = [vec![worker, guard], family].concat();
        assert!(eventually(5, || !everyone.iter().copied().any(is_alive)).await);
        assert!(eventually(5, || !exists(guard)).await);
        assert!(eventually(5, || exchange.usage().areas == 0).await);
        drop(exchange);
        assert!(eventually(5, || !directories.iter().any(|directory| directory.exists())).await);
    }
}

#[test]
fn a_runtime_that_ends_takes_its_workers_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sample, worker) = runtime.block_on(async {
        let sample = load("Families").await;
        sample.plugin.execute(Call::new().method("sleep").arg(0)).await.unwrap();
        let worker = sample.pids().await[0];
        (sample, worker)
    });
    let guard = parent(worker);
    drop(runtime);
    drop(sample);
    let until = Instant::now() + SOON;
    while (exists(worker) || exists(guard)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(!exists(worker) && !exists(guard));
}

/// Not a test, but the host that the next test kills: this program, started again with a variable set.
#[tokio::test]
async fn host_for_the_next_test() {
    let Ok(busy) = std::env::var("BIVIUM_TEST_HOST") else { return };
    let sample = load("Families").await;
    let family = children(&sample).await;
    let worker = sample.pids().await[0];
    let everyone = [vec![worker, parent(worker)], family].concat();
    println!("\nPIDS {}", serde_json::to_string(&everyone).unwrap());
    std::io::stdout().flush().unwrap();
    let call = match busy.as_str() {
        "idle" => std::future::pending().await,
        "lock" => Call::new().method("hold_the_lock").arg(60),
        method => Call::new().method(method.to_owned()).arg(60),
    };
    sample.plugin.execute(call).await.unwrap();
}

#[tokio::test]
async fn a_killed_host_leaves_no_process() {
    for busy in ["idle", "sleep", "lock"] {
        let mut host = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host_for_the_next_test", "--nocapture"])
            .env("BIVIUM_TEST_HOST", busy)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
        let pids = lines.find_map(|line| line.unwrap().strip_prefix("PIDS ").map(str::to_owned)).unwrap();
        let everyone: Vec<u32> = serde_json::from_str(&pids).unwrap();
        // Long enough for the call to begin, which cannot be observed from outside.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(everyone.iter().copied().all(is_alive));
        host.kill().unwrap();
        host.wait().unwrap();
        let at = Instant::now();
        assert!(eventually(5, || !everyone.iter().copied().any(is_alive)).await, "{busy}");
        println!("{busy}: gone after {:?}", at.elapsed());
    }
}
