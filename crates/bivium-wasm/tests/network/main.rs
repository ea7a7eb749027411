//! What a component can reach over the network: the destinations of its rules, at addresses that they allow, within its limits.
//!
//! Names are looked up in a table of the test; nothing leaves this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod http;
mod quotas;
mod secrets;
mod server;
mod sockets;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bivium_exchange::Exchange;
use bivium_instances::PluginContext;
use bivium_interface::{Call, ErrorCode, HostPolicy, PluginError, PluginInterface, Result};
use bivium_records::{AuditRecord, AuditSink, Auditor, Decision, PluginLog, Secrets};
use bivium_wasm::{ComponentPlugin, Resolver, WasmConfig, WasmEngine};
use serde_json::{Value, json};

/// Long enough for a busy machine; a guest that is not stopped never ends.
const STOPPED: Duration = Duration::from_secs(30);

/// Names of hosts: each lookup of a name returns the next of its answers, and then always the last one.
static NAMES: Mutex<BTreeMap<&str, Vec<Vec<IpAddr>>>> = Mutex::new(BTreeMap::new());

fn name(name: &'static str, answers: &[&[&str]]) {
    let address = |text: &&str| text.parse().unwrap();
    let answers = answers.iter().map(|answer| answer.iter().map(address).collect()).collect();
    NAMES.lock().unwrap().insert(name, answers);
}

struct Names;

impl Resolver for Names {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = NAMES.lock().unwrap();
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

static ENGINE: LazyLock<WasmEngine> = LazyLock::new(|| {
    let config = WasmConfig::new().instances(64).no_cache().resolver(Names);
    WasmEngine::new(config).unwrap()
});

/// Accepts records, except those of the permission that is set.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<AuditRecord>>>, Arc<Mutex<Option<&'static str>>>);

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord) -> Result<()> {
        if *self.1.lock().unwrap() == Some(record.permission) {
            return Err(PluginError::resource_exhausted("the disk of the audit log is full"));
        }
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

/// The guest that makes the requests, with these further keys in its manifest.
struct Probe {
    plugin: ComponentPlugin,
    log: PluginLog,
    audit: Records,
    // Last, so that it outlives the exchange in the plugin.
    _directory: tempfile::TempDir,
}

impl Probe {
    async fn new(more: Value) -> Self {
        Self::load(&ENGINE, more, &HostPolicy::default(), Secrets::default()).await.unwrap()
    }

    async fn load(engine: &WasmEngine, more: Value, policy: &HostPolicy, secrets: Secrets) -> Result<Self> {
        let directory = tempfile::tempdir().unwrap();
        let exchange = Exchange::builder().root(directory.path()).open().unwrap();
        let (log, audit) = (PluginLog::new("p"), Records::default());
        let manifest = common::manifest("p", &common::guest("probe"), more);
        let mut context = PluginContext::new(log.clone(), policy.grant(&manifest));
        context.audit = Auditor::new("p", Some(Arc::new(audit.clone())), log.clone());
        if context.granted.enforce {
            context.audit = context.audit.enforced();
        }
        context.secrets = secrets;
        let plugin = bivium_wasm::load(engine, &manifest, manifest.wasm().unwrap(), &exchange, context).await?;
        plugin.initialize(json!({})).await?;
        Ok(Self { plugin, log, audit, _directory: directory })
    }

    async fn run(&self, method: &'static str, arguments: Value) -> Result<Value> {
        self.call(call(method, arguments)).await
    }

    async fn call(&self, call: Call) -> Result<Value> {
        let ended = tokio::time::timeout(STOPPED, self.plugin.execute(call)).await;
        ended.expect("the guest is not stopped").map(|payload| payload.json)
    }

    async fn fails(&self, method: &'static str, arguments: Value, code: ErrorCode) -> PluginError {
        let error = self.run(method, arguments.clone()).await.expect_err(&arguments.to_string());
        assert_eq!(error.code(), code, "{arguments}: {error}");
        error
    }

    /// The last decision.
    fn last(&self, permission: &str) -> AuditRecord {
        let records = self.audit.0.lock().unwrap();
        records.iter().rfind(|record| record.permission == permission).cloned().expect("nothing was decided")
    }

    #[track_caller]
    fn was(&self, decision: Decision, permission: &str, resource: &str) {
        let last = self.last(permission);
        assert_eq!((last.decision, last.resource.as_str()), (decision, resource), "{last:?}");
        assert!(last.call.is_some() && last.plugin == "p" && last.instance > 0, "{last:?}");
    }
}

fn call(method: &'static str, arguments: Value) -> Call {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    arguments.into_iter().fold(Call::new().method(method), |call, (name, value)| call.named(name, value))
}

const NETWORK: &str = "permissions.network";
