//! Shared by the tests of this crate: plugins from `tests/python/plugins`, and functions to look at processes.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

#[path = "../../../../tests/support/skipped.rs"]
pub(crate) mod skipped;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{Call, HostPolicy, Manifest, PluginInterface, Result};
use bivium_records::PluginLog;
use bivium_worker::{PythonManifest, RemotePluginProxy, WorkerPlaces};
use serde_json::{Value, json};
use skipped::skipped;

pub struct Fixture {
    pub plugin: RemotePluginProxy,
    pub exchange: Exchange,
    pub log: PluginLog,
}

pub fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/plugins").canonicalize().unwrap()
}

pub fn manifest(class: &str, more: Value) -> Arc<Manifest> {
    let mut text = json!({
        "name": "sample", "version": "1.0.0", "module": "sample", "class": class, "source": ".",
        "env_vars": {"PYTHONDONTWRITEBYTECODE": "1"},
    });
    text.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    Arc::new(Manifest::parse(&text.to_string(), &plugins().join("sample.json")).unwrap())
}

pub fn context(manifest: &Manifest) -> PluginContext {
    PluginContext::new(PluginLog::new("sample"), HostPolicy::default().grant(manifest))
}

pub async fn load_from(manifest: Arc<Manifest>) -> Result<Fixture> {
    let context = context(&manifest);
    load_in(manifest, context).await
}

pub async fn load_in(manifest: Arc<Manifest>, context: PluginContext) -> Result<Fixture> {
    load_at(manifest, context, &WorkerPlaces::default()).await
}

pub async fn load_at(manifest: Arc<Manifest>, context: PluginContext, places: &WorkerPlaces) -> Result<Fixture> {
    let exchange = Exchange::open()?;
    let log = context.log.clone();
    let manifest = PythonManifest::of(&manifest).unwrap();
    let plugin = RemotePluginProxy::load(&manifest, &exchange, context, places, None).await?;
    Ok(Fixture { plugin, exchange, log })
}

pub async fn load_with(class: &str, more: Value) -> Fixture {
    load_from(manifest(class, more)).await.unwrap()
}

pub async fn load(class: &str) -> Fixture {
    load_with(class, json!({})).await
}

/// The manifest of a class in `captive.py`, whose methods try what confinement forbids.
pub fn captive_manifest(class: &str, more: Value) -> Arc<Manifest> {
    let mut all = json!({"module": "captive"});
    all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    manifest(class, all)
}

/// A class in `captive.py`, loaded.
pub async fn captive(class: &str, more: Value) -> Fixture {
    load_from(captive_manifest(class, more)).await.unwrap()
}

impl Fixture {
    /// The result of a method for these arguments.
    pub async fn ask(&self, method: &str, arguments: &[Value]) -> Result<Value> {
        let mut call = Call::new().method(method.to_owned());
        for argument in arguments {
            call = call.arg(argument.clone());
        }
        self.plugin.execute(call).await.map(|payload| payload.json)
    }

    /// Whether this kernel can restrict files; if not, prints that the test is skipped.
    pub fn holds_files(&self) -> bool {
        let lacks = self.log.tail(100).iter().any(|record| record.message.contains("this kernel has no Landlock"));
        if lacks {
            skipped("this kernel has no Landlock");
        }
        !lacks
    }

    /// The pids of the plugin's processes, the worker's first.
    pub async fn pids(&self) -> Vec<u32> {
        let stats = self.plugin.stats().await.unwrap();
        let instance = stats.instances.first().expect("a live worker");
        let worker = u32::try_from(instance.id).unwrap();
        let others = instance.pids.iter().copied().filter(|pid| *pid != worker);
        std::iter::once(worker).chain(others).collect()
    }
}

pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

pub fn kill(pid: u32) {
    assert!(pid > 1);
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub fn kill_if_there(pid: u32) {
    send(pid, rustix::process::Signal::KILL);
}

/// Signals a process, if it exists.
pub fn send(pid: u32, signal: rustix::process::Signal) {
    assert!(pid > 1);
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Waits until the check is true.
pub fn until(check: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < end, "the check is still false");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub async fn eventually(seconds: u64, mut check: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !check() {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}
