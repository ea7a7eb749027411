//! Workers that are started at the same time, started again, not started for a while after crashes, and stopped when idle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use bivium_interface::{Call, CircuitState, ErrorCode, PluginInterface, Stats};
use common::{Fixture, eventually, exists, load_with};
use serde_json::{Value, json};

/// A plugin with this code, in a directory of its own.
async fn made(dir: &Path, code: &str, more: Value) -> Fixture {
    std::fs::write(dir.join("made.py"), code).unwrap();
    let mut manifest = json!({"module": "made", "class": "P", "source": dir});
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    load_with("P", manifest).await
}

async fn stats(sample: &Fixture) -> Stats {
    sample.plugin.stats().await.unwrap()
}

#[tokio::test]
async fn replicas_start_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    // Neither is ready before the other has begun.
    let code = "
import os, time
HERE = os.path.dirname(__file__)
open(os.path.join(HERE, 'begun-%d' % os.getpid()), 'w').close()
until = time.monotonic() + 20
while sum(name.startswith('begun-') for name in os.listdir(HERE)) < 2:
    assert time.monotonic() < until, 'the other does not begin'
    time.sleep(0.01)
class P:
    def execute(self):
        return os.getpid()
";
    let sample = made(dir.path(), code, json!({"replicas": 2})).await;
    let (one, two) = tokio::join!(sample.plugin.execute(Call::new()), sample.plugin.execute(Call::new()));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    // If the first ready worker took both calls, the other may still be starting.
    while stats(&sample).await.starting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = stats(&sample).await;
    assert_eq!((stats.instances.len(), stats.crashes), (2, 0));
    assert!(stats.instances.iter().all(|worker| worker.start_s > 0.0 && worker.idle_s.is_some()), "{stats:?}");
}

#[tokio::test]
async fn a_worker_that_cannot_start_is_given_up_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let code = "
import os, sys
print('no such device', file=sys.stderr)
os._exit(3)
";
    let sample = made(dir.path(), code, json!({})).await;
    let mut crashes = 0;
    let refused = loop {
        let error = sample.plugin.execute(Call::new()).await.unwrap_err();
        if error.code() != ErrorCode::Crashed {
            break error;
        }
        assert!(error.message().contains("exited with status 3"), "{error}");
        crashes += 1;
        assert!(crashes < 20);
    };
    assert_eq!((refused.code(), crashes), (ErrorCode::Unavailable, 5));
    assert!(refused.message().contains("crashed 5 times in a row; the next try is in"), "{refused}");
    assert!(refused.help().unwrap().contains("exited with status 3"), "{refused}");
    assert!(refused.failure().unwrap().traceback.contains("no such device"), "{refused:?}");
    let now = stats(&sample).await;
    assert_eq!((now.circuit, now.crashes), (CircuitState::Open, 5));
    assert!(now.next_try_s.unwrap() > 1.0);
    assert_eq!(now.last_crash.unwrap().in_a_row, 5);
}

#[tokio::test]
async fn a_worker_that_crashes_is_started_again_with_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let code = "
import os
class P:
    def initialize(self, config):
        self.config = config
    def execute(self, crash=False):
        if crash:
            os.kill(os.getpid(), 9)
        return self.config
";
    let sample = made(dir.path(), code, json!({})).await;
    sample.plugin.initialize(json!({"kept": true})).await.unwrap();
    for _ in 0..7 {
        let error = sample.plugin.execute(Call::new().named("crash", true)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Crashed, "a SIGKILL is not reported as out of memory: {error}");
        let result = sample.plugin.execute(Call::new()).await.unwrap();
        assert_eq!(result.json, json!({"kept": true}));
    }
    let stats = stats(&sample).await;
    assert_eq!((stats.circuit, stats.crashes, stats.restarts), (CircuitState::Closed, 7, 7), "calls went well between");
    let last = stats.last_crash.unwrap();
    assert!(last.error.message().contains("killed by SIGKILL") && last.in_a_row == 0, "{last:?}");
}

#[tokio::test]
async fn an_idle_worker_is_stopped_in_order_and_started_by_the_next_call() {
    let sample = load_with("Configured", json!({"idle_stop_s": 1})).await;
    sample.plugin.initialize(json!({"a": 1})).await.unwrap();
    let first = sample.pids().await[0];
    assert!(eventually(20, || !exists(first)).await);
    let stopped = async || stats(&sample).await.idle_stops;
    while stopped().await == 0 {
        tokio::task::yield_now().await;
    }
    let now = stats(&sample).await;
    assert_eq!((now.restarts, now.crashes), (0, 0));
    let said = sample.log.tail(5);
    assert!(said.iter().any(|record| record.message == "cleaned"), "its cleanup has run: {said:?}");
    assert_eq!(sample.plugin.current_config().await.unwrap(), json!({"a": 1}));
    assert_ne!(sample.pids().await[0], first);
}

#[tokio::test]
async fn long_arguments_and_results_travel_as_files_and_leave_none() {
    let sample = load_with("Echo", json!({})).await;
    let text = "é\u{1f600}".repeat(100_000);
    let result = sample.plugin.execute(Call::new().arg(text.clone())).await.unwrap();
    assert_eq!(result.json["args"][0], text);
    let mut stream = sample.plugin.execute_stream(Call::new().method("big").arg(400_000)).await.unwrap();
    let chunk = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert_eq!(chunk.json.as_str().unwrap().len(), 400_000);
    drop(stream);
    sample.plugin.execute(Call::new()).await.unwrap();
    assert_eq!(sample.exchange.usage().blobs, 0);
}

#[tokio::test]
async fn a_deadline_covers_the_start_which_then_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let code = "
import os, time
print(os.getpid())
time.sleep(60)
";
    let sample = made(dir.path(), code, json!({})).await;
    let mut log = sample.log.follow();
    let error = sample.plugin.execute(Call::new().timeout(Duration::from_secs(2))).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    let pid: u32 = log.recv().await.unwrap().message.parse().unwrap();
    assert!(eventually(10, || !exists(pid)).await);
    assert!(eventually(10, || sample.exchange.usage().areas == 0).await);
    assert_eq!(stats(&sample).await.crashes, 0, "a start that nobody waits for has not failed");
}

#[tokio::test]
async fn a_worker_that_is_killed_for_a_call_leaves_other_replicas_alone() {
    let sample = load_with("Stubborn", json!({"replicas": 2})).await;
    let quiet = Call::new().method("polite");
    let loud = Call::new().method("hold_the_lock").arg(60);
    let (quiet_handle, loud_handle) = (quiet.handle().clone(), loud.handle().clone());
    let kill = async {
        while stats(&sample).await.running < 2 {
            tokio::task::yield_now().await;
        }
        // A call that is cancelled before the plugin runs it would end by itself.
        tokio::time::sleep(Duration::from_millis(300)).await;
        loud_handle.cancel();
    };
    let (loud_ends, quiet_ends, ()) = tokio::join!(
        sample.plugin.execute(loud),
        async {
            let mut quiet_runs = std::pin::pin!(sample.plugin.execute(quiet));
            tokio::select! {
                ended = &mut quiet_runs => panic!("{ended:?}"),
                () = async {
                    while stats(&sample).await.restarts == 0 {
                        tokio::task::yield_now().await;
                    }
                } => {}
            }
            quiet_handle.cancel();
            quiet_runs.await
        },
        kill
    );
    let error = loud_ends.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled);
    assert!(error.message().ends_with("the plugin did not stop, so its worker was killed"), "{error}");
    let error = quiet_ends.unwrap_err();
    assert_eq!(error.message(), "the call was cancelled", "it ended in order: {error}");
    let stats = stats(&sample).await;
    assert_eq!((stats.restarts, stats.crashes), (1, 0), "a worker that the host ends does not count as a crash");
}
