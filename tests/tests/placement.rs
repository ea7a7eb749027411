//! Workers on simulated GPUs: which they see, and how they make room for each other.

use std::sync::Arc;
use std::time::Duration;

use bivium::monitor::{Gpu, SimulatedMonitor, SystemSnapshot};
use bivium::scheduler::QueueScheduler;
use bivium::{Call, ErrorCode, PluginManager};
use bivium_tests::{plugin, until};
use serde_json::{Value, json};

const MODEL: &str = "
import os, time
class P:
    def execute(self):
        return os.environ.get('CUDA_VISIBLE_DEVICES')
    def wait(self, mark):
        open(mark + '.begun', 'w').close()
        while not os.path.exists(mark):
            time.sleep(0.005)
        return os.getpid()
";

const RELEASES: &str = "
import os
class P:
    releases = 0
    def execute(self):
        return {'pid': os.getpid(), 'releases': self.releases}
    def release(self):
        self.releases += 1
class Fails(P):
    def release(self):
        raise RuntimeError('it cannot')
";

struct Own {
    dir: tempfile::TempDir,
    manager: PluginManager,
}

/// A manager of a machine with these GPUs, for plugins with these resources.
fn own(gib: &[u64], patience: Duration, plugins: &[(&str, Value)]) -> Own {
    let dir = tempfile::tempdir().unwrap();
    for (name, resources) in plugins {
        plugin(dir.path(), name, MODEL, json!({"resources": resources, "env_vars": {"CUDA_VISIBLE_DEVICES": "7"}}));
    }
    let gpu = |(index, gib): (usize, &u64)| {
        Gpu::new(u32::try_from(index).unwrap(), "", gib << 30, gib << 30).with_uuid(format!("GPU-{index}"))
    };
    let machine = SystemSnapshot::new(4, 0, 0).with_gpus(gib.iter().enumerate().map(gpu).collect());
    let monitor = Arc::new(SimulatedMonitor::new(machine));
    let manager = PluginManager::builder()
        .manifests(dir.path())
        .data_dir(dir.path().join("data"))
        .scheduler(Arc::new(QueueScheduler::with_patience(Arc::clone(&monitor) as _, None, patience)))
        .monitor(monitor)
        .build()
        .unwrap();
    Own { dir, manager }
}

impl Own {
    async fn call(&self, name: &str) -> Value {
        let call = Call::new().timeout(Duration::from_secs(60));
        self.manager.execute(name, call).await.unwrap().json
    }

    async fn pids(&self, name: &str) -> Vec<u32> {
        self.manager.stats(name).await.unwrap().pids()
    }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_sees_the_gpus_that_it_was_placed_on() {
    let own = own(
        &[8, 24],
        LONG,
        &[
            ("large", json!({"requires_gpu": true, "min_gpu_vram_mb": 20_480})),
            ("small", json!({"min_gpu_vram_mb": 6_144})),
            ("both", json!({"gpus": 2})),
            ("none", json!({})),
        ],
    );
    for (name, sees) in [("large", "GPU-1"), ("small", "GPU-0"), ("both", "GPU-0,GPU-1"), ("none", "7")] {
        own.manager.load(name).await.unwrap();
        assert_eq!(own.call(name).await, sees, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_workers_make_room_and_start_again_for_their_next_call() {
    let needs = json!({"requires_gpu": true, "min_gpu_vram_mb": 5_120});
    let own = own(&[8], LONG, &[("one", needs.clone()), ("two", needs)]);
    for name in ["one", "two"] {
        own.manager.load(name).await.unwrap();
    }
    for _ in 0..2 {
        for (runs, other) in [("one", "two"), ("two", "one")] {
            assert_eq!(own.call(runs).await, "GPU-0");
            assert_eq!(own.pids(other).await, Vec::<u32>::new(), "{other} has ended for {runs}");
        }
    }
    let stats = own.manager.stats("one").await.unwrap();
    assert_eq!((stats.crashes, stats.failed), (0, 0));
    assert!(stats.idle_stops >= 2, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_can_releases_its_memory_and_lives_on() {
    let needs = json!({"min_gpu_vram_mb": 5_120});
    let own = own(&[8], LONG, &[("other", needs.clone())]);
    plugin(own.dir.path(), "releases", RELEASES, json!({"resources": needs}));
    plugin(own.dir.path(), "fails", RELEASES, json!({"resources": needs, "class": "Fails"}));
    own.manager.load("other").await.unwrap();
    for name in ["releases", "fails"] {
        own.manager.load(name).await.unwrap();
        let before = own.call(name).await;
        own.call("other").await;
        assert_eq!(own.pids(name).await.is_empty(), name == "fails");
        let after = own.call(name).await;
        match name {
            "releases" => assert_eq!(after, json!({"pid": before["pid"], "releases": 1})),
            _ => assert_ne!(after["pid"], before["pid"], "one that fails to release ends"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_use_makes_room_after_its_call_and_its_calls_stay_queued() {
    let needs = json!({"requires_gpu": true, "min_gpu_vram_mb": 5_120});
    let own = own(&[8], Duration::from_millis(500), &[("one", needs.clone()), ("two", needs)]);
    let mark = |name: &str| own.dir.path().join(name).to_str().unwrap().to_owned();
    let wait = |mark: String| {
        let manager = own.manager.clone();
        let call = Call::new().method("wait").named("mark", mark).timeout(Duration::from_secs(60));
        tokio::spawn(async move { manager.execute("one", call).await.unwrap().json })
    };
    for name in ["two", "one"] {
        own.manager.load(name).await.unwrap();
    }
    let first = wait(mark("first"));
    until(async || own.dir.path().join("first.begun").exists()).await;
    let second = wait(mark("second"));
    let call = Call::new().timeout(Duration::from_secs(60));
    let mut progress = call.handle().progress();
    let other = tokio::spawn({
        let manager = own.manager.clone();
        async move { manager.execute("two", call).await }
    });
    let ends = |progress: &bivium::Progress| progress.message.ends_with("ends after its calls");
    let told = tokio::time::timeout(Duration::from_secs(30), progress.wait_for(ends)).await.unwrap().unwrap();
    assert_eq!(told.message, "waiting: needs 5,120 MiB of GPU 0; one holds 5,120 MiB, ends after its calls");
    drop(told);
    assert!(!other.is_finished() && !own.dir.path().join("second.begun").exists());
    std::fs::write(mark("first"), "").unwrap();
    let first = first.await.unwrap();
    other.await.unwrap().unwrap();
    std::fs::write(mark("second"), "").unwrap();
    assert_ne!(second.await.unwrap(), first, "another worker runs it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_fit_fails_when_it_is_loaded() {
    let vast = json!({"requires_gpu": true, "min_gpu_vram_mb": 16_384});
    let own = own(&[8], LONG, &[("vast", vast)]);
    let error = own.manager.load("vast").await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::ResourceExhausted, Some("vast")));
    assert!(error.to_string().contains("it needs 16,384 MiB of GPU memory, but the host's GPU has 8,192"), "{error}");
}
