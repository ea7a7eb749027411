//! Measures the times in `docs/limits.md`: how long after its deadline or cancel a guest stops, alone and when many
//! are cancelled together, and how much busy loops slow down other plugins.
//!
//!     cargo run --release -p bivium-tests --bin latency
//!
//! One line of JSON a case, times in milliseconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bivium::{Call, PluginManager};
use bivium_tests::root;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::Builder;

/// Time from the start of a call to its deadline or cancel.
const UNTIL: Duration = Duration::from_millis(50);
const REPEATS: usize = 20;
const NEIGHBOUR_CALLS: usize = 300;
/// How many guests are cancelled together.
const STORM: usize = 64;
const STORMS: usize = 10;

/// The quantile of the measured times, in milliseconds.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    times.get(at.clamp(1, times.len().max(1)) - 1).map_or(0.0, |time| (time.as_secs_f64() * 1e6).round() / 1e3)
}

fn manager(directory: &std::path::Path, spinners: usize) -> Result<PluginManager> {
    let guest = |name: &str| root().join(format!("tests/guests/target/guests/{name}.wasm"));
    for (name, component, max) in [("misbehave", guest("misbehave"), spinners.max(1)), ("probe", guest("probe"), 1)] {
        let manifest = json!({"name": name, "version": "1.0.0", "component": component, "instances": {"max": max}});
        std::fs::write(directory.join(format!("{name}.json")), manifest.to_string())?;
    }
    let manifest = json!({"name": "neighbour", "version": "1.0.0", "component": guest("twin")});
    std::fs::write(directory.join("neighbour.json"), manifest.to_string())?;
    let scheduler = std::sync::Arc::new(bivium::scheduler::PermissiveScheduler);
    Ok(PluginManager::builder().manifests(directory).data_dir(directory.join("data")).scheduler(scheduler).build()?)
}

/// How long after its deadline, and after its cancel, a call of this method ends.
async fn overshoot(manager: &PluginManager, plugin: &str, method: &'static str, stream: bool) -> Result<Value> {
    let mut late = [Vec::new(), Vec::new()];
    for cancels in [false, true] {
        for _ in 0..REPEATS {
            let mut call = Call::new().method(method).named("ns", u64::MAX);
            if !cancels {
                call = call.timeout(UNTIL);
            }
            let (handle, begun) = (call.handle().clone(), Instant::now());
            let run = async {
                if !stream {
                    return manager.execute(plugin, call).await.map(drop);
                }
                let mut items = manager.execute_stream(plugin, call).await?;
                while let Some(item) = items.next().await {
                    item?;
                }
                Ok(())
            };
            let cancel = async {
                if cancels {
                    tokio::time::sleep_until((begun + UNTIL).into()).await;
                    handle.cancel();
                }
            };
            let (result, ()) = tokio::join!(run, cancel);
            result.err().with_context(|| format!("{method} ended by itself"))?;
            late[usize::from(cancels)].push(begun.elapsed().saturating_sub(UNTIL));
        }
    }
    let [mut deadline, mut cancel] = late;
    Ok(json!({
        "case": "stops after", "guest": method,
        "deadline": {"p50": quantile(&mut deadline, 0.5), "max": quantile(&mut deadline, 1.0)},
        "cancel": {"p50": quantile(&mut cancel, 0.5), "max": quantile(&mut cancel, 1.0)},
    }))
}

/// How long it takes until all of many busy guests have ended after they are cancelled together.
async fn storm(manager: &PluginManager, method: &'static str) -> Result<Value> {
    let mut times = Vec::new();
    for _ in 0..STORMS {
        let calls: Vec<_> = (0..STORM)
            .map(|_| {
                let (manager, call) = (manager.clone(), Call::new().method(method));
                let handle = call.handle().clone();
                (handle, tokio::spawn(async move { (manager.execute("misbehave", call).await, Instant::now()) }))
            })
            .collect();
        while manager.stats("misbehave").await?.running < STORM as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Long enough for all of them to have run for some ticks.
        tokio::time::sleep(UNTIL * 4).await;
        let begun = Instant::now();
        calls.iter().for_each(|(handle, _)| handle.cancel());
        let mut last = begun;
        for (_, call) in calls {
            let (result, ended) = call.await?;
            result.err().with_context(|| format!("{method} ended by itself"))?;
            last = last.max(ended);
        }
        times.push(last.duration_since(begun));
    }
    Ok(json!({
        "case": "a storm of cancels", "guest": method, "guests": STORM,
        "p50": quantile(&mut times, 0.5), "max": quantile(&mut times, 1.0),
    }))
}

/// A component whose calls are little more than one instruction over much memory.
const BULK: &str = r#"(component
    (core module $m
        (memory 0)
        (func (export "fill") (param $bytes i32)
            (drop (memory.grow (i32.shr_u (local.get $bytes) (i32.const 16))))
            (memory.fill (i32.const 0) (i32.const 1) (local.get $bytes)))
        (func (export "copy") (param $bytes i32)
            (memory.copy (i32.const 0) (i32.shr_u (local.get $bytes) (i32.const 1))
                (i32.shr_u (local.get $bytes) (i32.const 1)))))
    (core instance $i (instantiate $m))
    (func (export "fill") (param "bytes" u32) (canon lift (core func $i "fill")))
    (func (export "copy") (param "bytes" u32) (canon lift (core func $i "copy"))))"#;

/// How long a call takes that cannot be interrupted because it is one instruction: filling memory that was not used
/// before, filling it again, and copying one half of it to the other.
async fn bulk(directory: &std::path::Path, mib: u32) -> Result<Value> {
    std::fs::write(directory.join("bulk.wasm"), wat::parse_str(BULK)?)?;
    let manifest = json!({
        "name": "bulk", "version": "1.0.0", "component": "bulk.wasm", "limits": {"memory_mb": mib + 1},
    });
    std::fs::write(directory.join("bulk.json"), manifest.to_string())?;
    let manager = manager(directory, 1)?;
    manager.load("bulk").await?;
    let mut line = json!({"case": "one instruction", "mib": mib});
    for (what, method) in [("first fill", "fill"), ("fill", "fill"), ("copy of a half", "copy")] {
        let call = Call::new().method(method).named("bytes", mib << 20);
        let begun = Instant::now();
        manager.execute("bulk", call).await?;
        line[what] = json!(quantile(&mut [begun.elapsed()], 1.0));
    }
    manager.unload_all().await;
    Ok(line)
}

async fn neighbour_calls(manager: &PluginManager) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for n in 0..NEIGHBOUR_CALLS {
        let begun = Instant::now();
        let call = Call::new().named("text", n.to_string());
        // On the runtime's threads, like the calls of a server.
        let manager = manager.clone();
        tokio::spawn(async move { manager.execute("neighbour", call).await }).await??;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn main() -> Result<()> {
    for (threads, spinners) in [(1, 0), (1, 1), (1, 4), (2, 0), (2, 2), (2, 8)] {
        let directory = tempfile::tempdir()?;
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let line = runtime.block_on(async {
            let manager = manager(directory.path(), spinners)?;
            for plugin in ["neighbour", "misbehave"] {
                manager.load(plugin).await?;
            }
            let spins: Vec<_> = (0..spinners)
                .map(|_| {
                    let (manager, call) = (manager.clone(), Call::new().method("spin"));
                    let handle = call.handle().clone();
                    (handle, tokio::spawn(async move { manager.execute("misbehave", call).await }))
                })
                .collect();
            tokio::time::sleep(UNTIL).await;
            let mut times = neighbour_calls(&manager).await?;
            for (handle, spin) in spins {
                handle.cancel();
                spin.await?.err().context("a spinner ended by itself")?;
            }
            manager.unload_all().await;
            anyhow::Ok(json!({
                "case": "a neighbour's call", "threads": threads, "spinners": spinners,
                "p50": quantile(&mut times, 0.5), "p99": quantile(&mut times, 0.99),
            }))
        })?;
        println!("{line}");
    }
    for mib in [256, 1024, 4095] {
        let directory = tempfile::tempdir()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        println!("{}", runtime.block_on(bulk(directory.path(), mib))?);
    }
    for method in ["spin", "spin-until-cancelled"] {
        let directory = tempfile::tempdir()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let manager = manager(directory.path(), STORM)?;
            manager.load("misbehave").await?;
            println!("{}", storm(&manager, method).await?);
            manager.unload_all().await;
            anyhow::Ok(())
        })?;
    }
    let directory = tempfile::tempdir()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let manager = manager(directory.path(), 1)?;
        manager.load("misbehave").await?;
        manager.load("probe").await?;
        for (plugin, method, stream) in [
            ("misbehave", "spin", false),
            ("misbehave", "write-for-ever", false),
            ("probe", "sleep", false),
            ("probe", "poll-spin", false),
            ("misbehave", "for-ever", true),
            ("misbehave", "spin", true),
        ] {
            println!("{}", overshoot(&manager, plugin, method, stream).await?);
        }
        manager.unload_all().await;
        Ok(())
    })
}
