//! GPU plugins: Torch in workers, and GPU memory that is measured, admitted and freed.
//!
//! Ignored by default, since it needs an NVIDIA GPU that no other program uses and a Python with Torch, whose
//! interpreter `BIVIUM_GPU_PYTHON` names:
//!
//! ```sh
//! BIVIUM_GPU_PYTHON=$(command -v python3) cargo test --package bivium-tests --test gpu -- --ignored --nocapture
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bivium::monitor::{MachineMonitor, Monitor};
use bivium::scheduler::RefuseScheduler;
use bivium::{Call, ErrorCode, PluginManager};
use bivium_tests::{plugin, until};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

const TORCH: &str = r#"
import time

import torch


class P:
    def hold(self, mib):
        """As a model does that is loaded at its first call."""
        self.weights = torch.ones(mib << 20, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() >> 20

    def hold_until(self, mib, file):
        import os

        self.hold(mib)
        open(file + ".held", "w").close()
        while not os.path.exists(file):
            time.sleep(0.005)

    def product(self, n):
        generator = torch.Generator().manual_seed(1)
        a = torch.randn(n, n, generator=generator)
        b = torch.randn(n, n, generator=generator)
        there = (a.cuda() @ b.cuda()).cpu()
        return {"device": torch.cuda.get_device_name(), "error": (there - a @ b).abs().max().item()}

    def total(self, data):
        begun = time.perf_counter()
        there = data.torch(torch.uint8).cuda()
        total = there.sum(dtype=torch.int64).item()
        return {"total": total, "ms": (time.perf_counter() - begun) * 1e3}

    def spin(self, mark):
        a = torch.randn(2048, 2048, device="cuda")
        rounds = 0
        while True:
            a = torch.nn.functional.normalize(a @ a)
            rounds += 1
            if rounds == 100:
                open(mark, "w").close()

    def exhaust(self):
        return torch.empty(1 << 45, dtype=torch.uint8, device="cuda")
"#;

/// The tests run one at a time, as each measures the free GPU memory.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Own {
    dir: tempfile::TempDir,
    monitor: Arc<MachineMonitor>,
    manager: PluginManager,
    _alone: MutexGuard<'static, ()>,
}

/// A manager of Torch plugins of these names.
async fn own(refuse: bool, plugins: &[(&str, Value)]) -> Own {
    let alone = ALONE.lock().await;
    let python = std::env::var("BIVIUM_GPU_PYTHON").expect("BIVIUM_GPU_PYTHON names a Python with Torch");
    let dir = tempfile::tempdir().unwrap();
    for (name, more) in plugins {
        let mut more = more.clone();
        more["python_path"] = json!(python);
        plugin(dir.path(), name, TORCH, more);
    }
    let monitor = Arc::new(MachineMonitor::default());
    // Wait until the workers of the previous test have ended.
    until(async || {
        let gpu = &monitor.snapshot().gpus[0];
        gpu.processes.is_empty() && gpu.memory_total_bytes - gpu.memory_free_bytes < 1 << 30
    })
    .await;
    let mut builder = PluginManager::builder()
        .manifests(dir.path())
        .data_dir(dir.path().join("data"))
        .monitor(Arc::clone(&monitor) as _);
    if refuse {
        builder = builder.scheduler(Arc::new(RefuseScheduler::new(Arc::clone(&monitor) as _, None)));
    }
    Own { manager: builder.build().unwrap(), dir, monitor, _alone: alone }
}

impl Own {
    async fn call(&self, name: &str, method: &'static str, arguments: Value) -> bivium::Result<Value> {
        let Value::Object(named) = arguments else { panic!("arguments are an object") };
        let mut call = Call::new().method(method).timeout(Duration::from_secs(120));
        call.named = named;
        Ok(self.manager.execute(name, call).await?.json)
    }

    fn free_mib(&self) -> u64 {
        self.monitor.snapshot().gpus[0].memory_free_bytes >> 20
    }

    async fn held_mib(&self, name: &str) -> u64 {
        let stats = self.manager.stats(name).await.unwrap();
        stats.instances.iter().filter_map(|instance| instance.gpu_memory_bytes).sum::<u64>() >> 20
    }
}

fn total_mib() -> u64 {
    MachineMonitor::default().snapshot().gpus[0].memory_total_bytes >> 20
}

fn needs(mib: u64) -> Value {
    json!({"resources": {"requires_gpu": true, "min_gpu_vram_mb": mib}})
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn torch_computes_on_the_gpu_and_its_memory_is_seen() {
    let own = own(false, &[("tensors", needs(4096))]).await;
    let gpu = own.manager.system().gpus[0].clone();
    eprintln!("{}: {} of {} MiB free", gpu.name, gpu.memory_free_bytes >> 20, gpu.memory_total_bytes >> 20);
    let before = own.free_mib();
    let begun = Instant::now();
    own.manager.load("tensors").await.unwrap();
    eprintln!("loaded in {:.1?}, Torch imported", begun.elapsed());
    let product = own.call("tensors", "product", json!({"n": 512})).await.unwrap();
    assert_eq!(product["device"], gpu.name.as_str());
    assert!(product["error"].as_f64().unwrap() < 0.1, "{product}");
    own.call("tensors", "hold", json!({"mib": 2048})).await.unwrap();
    let held = own.held_mib("tensors").await;
    eprintln!("the worker holds {held} MiB of GPU memory");
    assert!((2048..4096).contains(&held), "{held}");
    assert!(own.free_mib() <= before - 2048);

    let freed = own.manager.unload("tensors").await.unwrap();
    eprintln!("unloaded: {freed}");
    assert!(freed.before.gpu_memory_bytes.unwrap() >> 20 >= 2048, "{freed}");
    assert_eq!(freed.after.gpu_memory_bytes, Some(0), "{freed}");
    until(async || own.free_mib() + 64 >= before).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn a_confined_plugin_is_told_that_cuda_does_not_start_there() {
    let mut manifest = needs(1024);
    manifest["permissions"] = json!({});
    let own = own(false, &[("confined", manifest)]).await;
    own.manager.load("confined").await.unwrap();
    let logs = own.manager.logs("confined", 10).unwrap();
    assert!(logs.iter().any(|record| record.message.contains("CUDA does not start")), "{logs:?}");
    // If a driver learns to work in a confined worker, this message must be removed.
    let error = own.call("confined", "product", json!({"n": 64})).await.unwrap_err();
    assert!(error.to_string().contains("Error 304"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn gpu_memory_is_admitted_and_passed_on() {
    for refuse in [true, false] {
        let total = total_mib();
        let need = total * 6 / 10;
        let own = own(refuse, &[("one", needs(need)), ("two", needs(need)), ("vast", needs(total * 2))]).await;
        for name in ["one", "two"] {
            own.manager.load(name).await.unwrap();
        }
        let never = own.manager.load("vast").await.unwrap_err();
        assert_eq!(never.code(), ErrorCode::ResourceExhausted);
        eprintln!("{never}");

        own.call("one", "hold", json!({"mib": need * 9 / 10})).await.unwrap();
        // The memory that it holds itself does not block its next call.
        own.call("one", "product", json!({"n": 64})).await.unwrap();
        // The first is idle, and ends for the second; then the other way round.
        for name in ["two", "one"] {
            let begun = Instant::now();
            own.call(name, "hold", json!({"mib": need * 9 / 10})).await.unwrap();
            eprintln!("{name} ran and held its memory within {:.1?}", begun.elapsed());
        }
        own.manager.unload_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn two_that_fit_side_by_side_run_side_by_side() {
    let total = total_mib();
    let need = total * 4 / 10;
    let own = own(true, &[("one", needs(need)), ("two", needs(need))]).await;
    let go = own.dir.path().join("go");
    let first = own.call("one", "hold_until", json!({"mib": need * 9 / 10, "file": go}));
    let second = async {
        until(async || own.dir.path().join("go.held").exists()).await;
        // The first already holds the memory that it was promised: it must not count twice.
        let second = own.call("two", "hold", json!({"mib": need * 9 / 10})).await;
        std::fs::write(&go, "").unwrap();
        second
    };
    for report in own.manager.load_all().await {
        report.result.unwrap();
    }
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn a_reload_of_a_model_that_fits_once_ends_the_old_one_first() {
    let total = total_mib();
    let need = total * 6 / 10;
    let own = own(true, &[("model", needs(need))]).await;
    own.manager.load("model").await.unwrap();
    for _ in 0..2 {
        own.call("model", "hold", json!({"mib": need * 9 / 10})).await.unwrap();
        own.manager.reload("model").await.unwrap();
    }
    assert_eq!(own.held_mib("model").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn memory_comes_back_from_killed_workers_and_idle_ones() {
    let mut idle = needs(1024);
    idle["idle_stop_s"] = json!(1);
    let own = own(false, &[("killed", needs(1024)), ("idle", idle)]).await;
    let before = own.free_mib();
    for name in ["killed", "idle"] {
        own.manager.load(name).await.unwrap();
        own.call(name, "hold", json!({"mib": 8192})).await.unwrap();
    }
    assert!(own.free_mib() <= before - 2 * 8192);
    let pids = own.manager.stats("killed").await.unwrap().pids();
    for pid in &pids {
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }
    until(async || own.free_mib() + 64 >= before).await;
    assert!(pids.iter().all(|pid| !Path::new("/proc").join(pid.to_string()).exists()));
    for name in ["killed", "idle"] {
        own.call(name, "hold", json!({"mib": 64})).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn memory_that_is_used_up_and_loops_that_are_cancelled_leave_the_worker() {
    let own = own(false, &[("tensors", needs(1024))]).await;
    own.manager.load("tensors").await.unwrap();
    let pids = own.manager.stats("tensors").await.unwrap().pids();
    let error = own.call("tensors", "exhaust", json!({})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    eprintln!("{error}");
    for round in 0..3 {
        let mark = own.dir.path().join(format!("spins.{round}"));
        let call = Call::new().method("spin").named("mark", json!(mark)).timeout(Duration::from_secs(60));
        let handle = call.handle().clone();
        let spin = tokio::spawn({
            let manager = own.manager.clone();
            async move { manager.execute("tensors", call).await }
        });
        until(async || mark.exists()).await;
        let begun = Instant::now();
        handle.cancel();
        assert_eq!(spin.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
        eprintln!("a loop of kernels ended {:.1?} after its cancel", begun.elapsed());
    }
    assert_eq!(own.manager.stats("tensors").await.unwrap().pids(), pids, "the worker lives on");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an NVIDIA GPU and a Python with Torch"]
async fn a_gibibyte_reaches_the_gpu_as_a_file() {
    let own = own(false, &[("tensors", needs(4096))]).await;
    own.manager.load("tensors").await.unwrap();
    own.call("tensors", "product", json!({"n": 64})).await.unwrap();
    let bytes = vec![3; 1 << 30];
    let begun = Instant::now();
    let blob = own.manager.exchange().write(&bytes, "application/octet-stream").unwrap();
    eprintln!("a GiB was written in {:.1?}", begun.elapsed());
    for _ in 0..3 {
        let call = Call::new().method("total").blob("data", blob.clone()).timeout(Duration::from_secs(60));
        let begun = Instant::now();
        let result = own.manager.execute("tensors", call).await.unwrap().json;
        eprintln!("a GiB was summed on the GPU in {:.1?}, {:.0} ms of it in the plugin", begun.elapsed(), result["ms"]);
        assert_eq!(result["total"], 3u64 << 30);
    }
}
