//! Directories of the exchange that are removed under workers, and audit logs that cannot be written when they start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{Blob, Call, ErrorCode, PluginInterface};
use bivium_records::{AuditFile, Auditor, PluginLog};
use bivium_worker::{PythonManifest, RemotePluginProxy, WorkerPlaces};
use common::{captive_manifest, context, eventually, is_alive, load_in, manifest};
use serde_json::{Value, json};

struct Host {
    plugin: Arc<RemotePluginProxy>,
    exchange: Exchange,
    root: tempfile::TempDir,
}

impl Host {
    async fn new(manifest: Arc<bivium_interface::Manifest>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let exchange = Exchange::builder().root(root.path()).open().unwrap();
        let context = context(&manifest);
        let plugin = RemotePluginProxy::load(
            &PythonManifest::of(&manifest).unwrap(),
            &exchange,
            context,
            &WorkerPlaces::default(),
            None,
        )
        .await
        .unwrap();
        Self { plugin: Arc::new(plugin), exchange, root }
    }

    fn session(&self) -> PathBuf {
        self.exchange.directories()[0].clone()
    }

    async fn pid(&self) -> u64 {
        self.plugin.stats().await.unwrap().instances.last().unwrap().id
    }

    /// The result of a call that writes a file and hands it back.
    async fn makes(&self, text: &str) -> Blob {
        let made = self.plugin.execute(Call::new().method("make").arg(text)).await.unwrap();
        assert_eq!(std::fs::read_to_string(made.blobs[0].path()).unwrap(), text);
        made.blobs[0].clone()
    }

    async fn reads(&self, blob: &Blob) -> bivium_interface::Result<Value> {
        let call = Call::new().method("read").blob("path", blob.clone());
        self.plugin.execute(call).await.map(|payload| payload.json)
    }
}

fn parts(session: &Path) -> Vec<PathBuf> {
    let areas = session.join("areas");
    let mut parts: Vec<PathBuf> = std::fs::read_dir(&areas).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.extend([areas, session.to_owned()]);
    parts
}

#[tokio::test]
async fn a_worker_whose_directory_is_removed_is_replaced_and_no_call_is_lost() {
    for more in [json!({}), json!({"permissions": {}})] {
        let host = Host::new(captive_manifest("Captive", more.clone())).await;
        host.makes("first").await;
        // Each area and window of the worker, then all of them, then the whole session.
        let number = parts(&host.session()).len();
        for n in 0..number {
            let before = host.pid().await;
            let part = parts(&host.session())[n.min(parts(&host.session()).len() - 1)].clone();
            std::fs::remove_dir_all(&part).unwrap();
            let blob = host.makes("again").await;
            assert_eq!(host.reads(&blob).await.unwrap(), json!("again"), "{more} without {}", part.display());
            let now = host.pid().await;
            assert_ne!(now, before, "{more} without {}", part.display());
            assert!(eventually(20, || !is_alive(u32::try_from(before).unwrap())).await);
            // Its own directories go a little after it; the next round must not remove one of those.
            assert!(eventually(20, || parts(&host.session()).len() == number).await);
        }
        let stats = host.plugin.stats().await.unwrap();
        assert_eq!((stats.crashes, stats.instances.len()), (0, 1), "it does not count as a crash");
        host.plugin.cleanup().await.unwrap();
        let Host { plugin, exchange, root } = host;
        drop((plugin, exchange));
        assert!(eventually(20, || root.path().read_dir().unwrap().count() == 0).await);
    }
}

#[tokio::test]
async fn many_calls_at_once_all_find_a_place_again() {
    let host = Host::new(captive_manifest("Captive", json!({"replicas": 2, "permissions": {}}))).await;
    host.makes("first").await;
    for _ in 0..3 {
        std::fs::remove_dir_all(host.session()).unwrap();
        let calls = (0..8).map(|_| host.makes("again"));
        futures_util::future::join_all(calls).await;
    }
    assert_eq!(host.plugin.stats().await.unwrap().crashes, 0);
    host.plugin.cleanup().await.unwrap();
}

#[tokio::test]
async fn a_blob_whose_file_was_removed_is_an_error_and_the_plugin_serves_on() {
    for more in [json!({}), json!({"permissions": {}})] {
        let host = Host::new(captive_manifest("Captive", more)).await;
        let lost = host.makes("lost").await;
        std::fs::remove_dir_all(host.session()).unwrap();
        let error = host.reads(&lost).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
        assert!(error.to_string().contains("the file of a blob is gone"), "{error}");
        host.makes("again").await;
        host.plugin.cleanup().await.unwrap();
    }
}

#[tokio::test]
async fn calls_that_run_go_on_in_the_worker_that_is_replaced() {
    let host = Host::new(manifest("Families", json!({"concurrency": 2}))).await;
    let sleep = |seconds: f64| Call::new().method("sleep").arg(json!(seconds));
    host.plugin.execute(sleep(0.0)).await.unwrap();
    let before = host.pid().await;
    let plugin = Arc::clone(&host.plugin);
    let long = tokio::spawn(async move { plugin.execute(sleep(1.5)).await });
    let running = || async { host.plugin.stats().await.unwrap().running };
    while running().await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    std::fs::remove_dir_all(host.session()).unwrap();
    host.plugin.execute(sleep(0.0)).await.unwrap();
    assert_ne!(host.pid().await, before);
    assert!(!long.is_finished(), "the machine is too slow for this test");
    long.await.unwrap().unwrap();
    assert!(eventually(20, || !is_alive(u32::try_from(before).unwrap())).await, "it ends once its call has");
    assert_eq!(host.plugin.stats().await.unwrap().crashes, 0);
    host.plugin.cleanup().await.unwrap();
}

#[tokio::test]
async fn a_worker_starts_only_if_that_is_recorded_where_it_is_enforced() {
    for enforced in [false, true] {
        let manifest = captive_manifest("Captive", json!({"permissions": {"env": ["HOME"]}}));
        let log = PluginLog::new("sample");
        let mut context = context(&manifest);
        let full = Arc::new(AuditFile::open(Path::new("/dev/full")).unwrap());
        context.audit = Auditor::new("sample", Some(full), log.clone());
        if enforced {
            context.audit = context.audit.enforced();
        }
        let sample = load_in(manifest, context).await.unwrap();
        let asked = sample.ask("touched", &[]).await;
        let told = log.tail(100).iter().any(|record| record.message.contains("the audit log cannot be written"));
        assert!(told);
        if enforced {
            let error = asked.unwrap_err();
            assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
            assert!(error.to_string().contains("nothing that is not recorded"), "{error}");
            assert!(sample.plugin.stats().await.unwrap().instances.is_empty());
        } else {
            asked.unwrap();
        }
    }
}
