//! Ten thousand calls over two hundred plugins, with cancels at random: nothing leaks and nothing hangs.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use bivium::{Call, ErrorCode, PluginManager, WasmConfig};
use bivium_tests::root;
use futures_util::{StreamExt, stream};
use serde_json::json;

const PLUGINS: usize = 200;
const CALLS: usize = 10_000;
const AT_ONCE: usize = 50;
/// Far longer than all calls together take.
const DONE: Duration = Duration::from_secs(240);

/// A random number, the same in every run (splitmix64).
fn random(n: usize) -> u64 {
    let mut z = (n as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() >> 10
}

/// One call of one of the kinds. The error is a wrong answer.
async fn one(manager: &PluginManager, n: usize) -> Result<(), String> {
    let random = random(n);
    let plugin = format!("plugin-{}", random as usize % PLUGINS);
    let blob = manager.exchange().write(format!("blob {n}").as_bytes(), "text/plain").unwrap();
    let call = match random >> 32 & 7 {
        0 => Call::new().method("spin"),
        1 => Call::new().method("spin-until-cancelled"),
        2 => Call::new().method("trap"),
        3 => Call::new().method("keep").blob("blob", blob),
        _ => Call::new().method("echo").named("n", n),
    };
    let (method, handle) = (call.method.clone(), call.handle().clone());
    // Calls that never end by themselves are cancelled, and some of the others as well.
    let cancels = method.starts_with("spin") || random >> 40 & 3 == 0;
    let cancel = async {
        if cancels {
            tokio::time::sleep(Duration::from_micros(random >> 44 & 0xfff)).await;
            handle.cancel();
        }
    };
    if random >> 60 == 0 {
        // A stream whose reader is dropped.
        let call = Call::new().method("for-ever");
        let mut stream = manager.execute_stream(&plugin, call).await.map_err(|error| error.to_string())?;
        return match stream.next().await {
            Some(Ok(payload)) if payload.json == 1 => Ok(()),
            other => Err(format!("a stream gives {other:?}")),
        };
    }
    let (result, ()) = tokio::join!(manager.execute(&plugin, call), cancel);
    match (method.as_ref(), result) {
        ("echo", Ok(payload)) if payload.json == json!({"n": n}) => Ok(()),
        ("keep", Ok(payload)) if payload.json == format!("blob {n}").len() => Ok(()),
        ("trap", Err(error)) if error.code() == ErrorCode::Crashed => Ok(()),
        (_, Err(error)) if cancels && error.code() == ErrorCode::Cancelled => Ok(()),
        (method, other) => Err(format!("{method} of {plugin} gives {other:?}")),
    }
}

async fn run(manager: &PluginManager, calls: std::ops::Range<usize>) {
    let wrong: Vec<String> = stream::iter(calls)
        .map(|n| {
            let manager = manager.clone();
            // On all threads of the runtime.
            async move { tokio::spawn(async move { one(&manager, n).await }).await.unwrap() }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|result| async { result.err() })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} answers are wrong, first {}", wrong.len(), wrong[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_over_two_hundred_plugins_leak_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let component = root().join("tests/guests/target/guests/misbehave.wasm");
    for n in 0..PLUGINS {
        let name = format!("plugin-{n}");
        let manifest = json!({"name": name, "version": "1.0.0", "component": component, "limits": {"memory_mb": 16}});
        std::fs::write(directory.path().join(format!("{name}.json")), manifest.to_string()).unwrap();
    }
    let manager = PluginManager::builder()
        .manifests(directory.path())
        .data_dir(directory.path().join("data"))
        .wasm(WasmConfig::new().instances(2 * PLUGINS as u32))
        .scheduler(Arc::new(bivium::scheduler::PermissiveScheduler))
        .build()
        .unwrap();
    for report in manager.load_all().await {
        report.result.unwrap();
    }
    // The first thousand fill caches, pools and thread stacks.
    let done = async {
        run(&manager, 0..1000).await;
        let before = (open_files(), resident_mib());
        run(&manager, 1000..CALLS).await;
        before
    };
    let (files, resident) = tokio::time::timeout(DONE, done).await.expect("calls hang");
    let instances = manager.component_instances();
    assert!(instances <= PLUGINS, "{instances} instances live, one a plugin at most");
    assert_eq!(manager.exchange().usage().blobs, 0, "blobs are left");
    assert!(open_files() <= files, "{} open files, {files} before", open_files());
    let grown = resident_mib().saturating_sub(resident);
    assert!(grown < 64, "9,000 calls left {grown} MiB behind");
    for report in manager.unload_all().await {
        report.result.unwrap();
    }
    assert_eq!(manager.component_instances(), 0, "instances are left");
}
