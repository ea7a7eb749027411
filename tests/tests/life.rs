//! Starting and ending workers through the manager: loads that are slow or given up, reloads under load, queues, and what
//! is left after the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bivium::monitor::{Gpu, SimulatedMonitor, SystemSnapshot};
use bivium::{Call, ErrorCode, ManagerBuilder, PluginManager};
use bivium_tests::until;
use serde_json::{Value, json};

fn call() -> Call {
    Call::new().timeout(Duration::from_secs(20))
}

struct Own {
    dir: tempfile::TempDir,
    manager: PluginManager,
}

fn own(choose: impl FnOnce(ManagerBuilder) -> ManagerBuilder) -> Own {
    let dir = tempfile::tempdir().unwrap();
    let builder = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data"));
    Own { manager: choose(builder).build().unwrap(), dir }
}

impl Own {
    fn plugin(&self, name: &str, code: &str, more: Value) {
        bivium_tests::plugin(self.dir.path(), name, code, more);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).exists()
}

/// Is not ready before there is a file `go`, and writes its process id.
const SLOW: &str = "
import os, time
HERE = os.path.dirname(__file__)
with open(os.path.join(HERE, 'pid.new'), 'w') as file:
    file.write(str(os.getpid()))
os.rename(os.path.join(HERE, 'pid.new'), os.path.join(HERE, 'pid'))
while not os.path.exists(os.path.join(HERE, 'go')):
    time.sleep(0.01)
class P:
    def execute(self):
        return 'up'
";

const QUICK: &str = "class P:\n    def execute(self):\n        return 'quick'\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_load_holds_up_no_other_and_one_that_is_given_up_leaves_nothing() {
    let own = own(|builder| builder);
    own.plugin("slow", SLOW, json!({}));
    own.plugin("quick", QUICK, json!({}));
    let load = tokio::spawn({
        let manager = own.manager.clone();
        async move { manager.load("slow").await }
    });
    until(async || own.path("pid").exists()).await;
    own.manager.load("quick").await.unwrap();
    assert_eq!(own.manager.execute("quick", call()).await.unwrap().json, "quick");
    assert!(!load.is_finished());

    let pid = std::fs::read_to_string(own.path("pid")).unwrap();
    load.abort();
    assert!(load.await.unwrap_err().is_cancelled());
    until(async || !exists(&pid)).await;
    assert_eq!(own.manager.list().len(), 1);
    own.manager.unload("quick").await.unwrap();
    until(async || own.manager.exchange().usage().areas == 0).await;

    std::fs::write(own.path("go"), "").unwrap();
    own.manager.load("slow").await.unwrap();
    assert_eq!(own.manager.execute("slow", call()).await.unwrap().json, "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_refuse_no_call() {
    let own = own(|builder| builder);
    for (name, gpu) in [("rolling", false), ("old-first", true)] {
        let name = name.replace('-', "_");
        own.plugin(&name, QUICK, json!({"replicas": 2, "resources": {"requires_gpu": gpu}}));
    }
    let machine = SystemSnapshot::new(8, 0, 0).with_gpus(vec![Gpu::new(0, "", 1 << 30, 1 << 30)]);
    let dir = own.dir.path();
    let monitor = Arc::new(SimulatedMonitor::new(machine));
    let manager = PluginManager::builder().manifests(dir).data_dir(dir.join("data")).monitor(monitor).build().unwrap();
    for name in ["rolling", "old_first"] {
        manager.load(name).await.unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (manager, over) = (manager.clone(), Arc::clone(&over));
                tokio::spawn(async move {
                    let mut calls = 0;
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(manager.execute(name, call()).await.unwrap().json, "quick");
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        for _ in 0..3 {
            manager.reload(name).await.unwrap();
        }
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.await.unwrap() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_in_order_and_no_more_than_the_manifest_allows() {
    let own = own(|builder| builder);
    own.plugin(
        "waits",
        "import time\nclass P:\n    def execute(self):\n        time.sleep(60)\n",
        json!({"limits": {"queue": 2}}),
    );
    own.manager.load("waits").await.unwrap();
    let calls: [Call; 3] = std::array::from_fn(|_| call());
    let ids = calls.each_ref().map(Call::id);
    let mut running = Vec::new();
    for (n, call) in calls.into_iter().enumerate() {
        let manager = own.manager.clone();
        running.push(tokio::spawn(async move { manager.execute("waits", call).await }));
        until(async || {
            let stats = own.manager.stats("waits").await.unwrap();
            (stats.running, stats.waiting) == (1, n as u64)
        })
        .await;
    }
    let positions = || {
        let found = own.manager.calls("waits").unwrap();
        ids.map(|id| found.iter().find(|known| known.handle.id() == id).unwrap().position)
    };
    assert_eq!(positions(), [None, Some(1), Some(2)]);
    let error = own.manager.execute("waits", call()).await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::ResourceExhausted, Some("waits")));
    assert!(error.to_string().contains("limits.queue"), "{error}");
    own.manager.cancel("waits").unwrap();
    for call in running {
        assert_eq!(call.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
    }
    assert_eq!(own.manager.stats("waits").await.unwrap().restarts, 0, "the one that ran ended in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn unloading_tells_the_memory_before_and_after() {
    let machine = SystemSnapshot::new(8, 0, 0).with_gpus(vec![Gpu::new(0, "", 8 << 30, 8 << 30)]);
    let monitor = Arc::new(SimulatedMonitor::new(machine));
    let own = own(|builder| builder.monitor(Arc::clone(&monitor) as _));
    own.plugin("quick", QUICK, json!({}));
    own.manager.load("quick").await.unwrap();
    let mut log = own.manager.follow_logs("quick").unwrap();
    let pid = own.manager.stats("quick").await.unwrap().pids()[0];
    monitor.change(|machine| machine.gpus[0].processes = vec![(pid, 3 << 30), (1, 1 << 30)]);
    assert_eq!(own.manager.stats("quick").await.unwrap().instances[0].gpu_memory_bytes, Some(3 << 30));

    let freed = own.manager.unload("quick").await.unwrap();
    assert!(freed.before.memory_bytes > 1 << 20, "{freed:?}");
    assert_eq!((freed.after.memory_bytes, freed.before.gpu_memory_bytes), (0, Some(3 << 30)));
    assert_eq!(freed.after.gpu_memory_bytes, Some(3 << 30), "this machine does not notice that the process has ended");
    let told = loop {
        let record = log.recv().await.unwrap();
        if record.message.starts_with("unloaded: ") {
            break record.message;
        }
    };
    assert!(told.contains("and 3072 MiB of GPU memory, and uses 0 MiB of memory"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_worker_counts_with_its_real_memory() {
    let machine = SystemSnapshot::new(8, 8 << 30, 4096 << 20);
    let own = own(|builder| builder.monitor(Arc::new(SimulatedMonitor::new(machine))));
    for name in ["first", "second", "third"] {
        // That much memory is free only together with what the worker holds already.
        own.plugin(name, QUICK, json!({"resources": {"min_system_ram_mb": 4100}}));
        own.manager.load(name).await.unwrap();
        own.manager.execute(name, call()).await.unwrap();
        let freed = own.manager.unload(name).await.unwrap();
        assert!(freed.before.memory_bytes > 4 << 20, "{freed:?}");
        assert_eq!(freed.after.memory_bytes, 0, "{freed:?}");
    }
}
