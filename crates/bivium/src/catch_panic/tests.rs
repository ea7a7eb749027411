use std::sync::atomic::{AtomicBool, Ordering};

use bivium_interface::{Call, ErrorCode, Payload, PayloadStream, PluginInterface};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::*;
use crate::PluginManager;

/// Panics when asked to.
struct Panics;

#[async_trait]
impl PluginInterface for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn version(&self) -> &str {
        "1"
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        assert!(config.get("bad").is_none(), "no such configuration");
        Ok(())
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        match &*call.method {
            "panic" => panic!("nobody has seen {}", 7),
            _ => Ok(json!("fine").into()),
        }
    }

    async fn execute_stream(&self, _call: Call) -> Result<PayloadStream> {
        let item = |n: u32| if n < 2 { Ok(json!(n).into()) } else { panic!("no third") };
        Ok(PayloadStream::new(stream::iter(0..5).map(item)))
    }

    async fn stats(&self) -> Result<bivium_interface::Stats> {
        panic!("no figures")
    }

    async fn cleanup(&self) -> Result<()> {
        panic!("no end")
    }
}

/// A scheduler and a monitor that panic while the flag is set.
#[derive(Default)]
struct Broken(AtomicBool);

impl Broken {
    fn check(&self) {
        assert!(!self.0.load(Ordering::SeqCst), "it is broken");
    }
}

#[async_trait]
impl Scheduler for Broken {
    async fn admit(&self, _need: &Need, _call: &CallHandle) -> Result<Admission> {
        self.check();
        Ok(Admission::default())
    }
}

impl Monitor for Broken {
    fn snapshot(&self) -> SystemSnapshot {
        self.check();
        SystemSnapshot { cpus: 3, ..SystemSnapshot::default() }
    }
}

impl AuditSink for Broken {
    fn record(&self, _record: &AuditRecord) -> Result<()> {
        self.check();
        Ok(())
    }
}

fn manager(broken: &Arc<Broken>) -> (PluginManager, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let builder = PluginManager::builder().manifests(dir.path()).data_dir(dir.path());
    let builder = builder.scheduler(Arc::clone(broken) as _).monitor(Arc::clone(broken) as _);
    (builder.build().unwrap(), dir)
}

#[tokio::test]
async fn a_panic_of_a_registered_type_is_an_error_of_its_call() {
    let (manager, _dir) = manager(&Arc::default());
    let error = manager.register(Arc::new(Panics), json!({"bad": 1})).await.unwrap_err();
    assert!(error.to_string().contains("no such configuration"), "{error}");
    manager.register(Arc::new(Panics), json!({})).await.unwrap();

    let call = Call::new().method("panic");
    let id = call.id();
    let error = manager.execute("panics", call).await.unwrap_err();
    assert_eq!((error.code(), error.plugin(), error.call()), (ErrorCode::PluginFailed, Some("panics"), Some(id)));
    assert_eq!(
        error.failure().map(|failure| (&*failure.kind, &*failure.message)),
        Some(("panic", "nobody has seen 7"))
    );
    assert_eq!(manager.execute("panics", Call::new()).await.unwrap().json, "fine");
    assert!(manager.calls("panics").unwrap().is_empty());

    let mut results = manager.execute_stream("panics", Call::new()).await.unwrap();
    assert!(results.next().await.unwrap().is_ok() && results.next().await.unwrap().is_ok());
    let error = results.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no third") && results.next().await.is_none(), "{error}");

    assert!(manager.update_config("panics", json!({"bad": 1})).await.is_err());
    assert_eq!(manager.config("panics").unwrap(), json!({}));
    assert!(manager.stats("panics").await.unwrap_err().to_string().contains("no figures"));
    assert!(manager.unload("panics").await.unwrap_err().to_string().contains("no end"));
    manager.register(Arc::new(Panics), json!({})).await.unwrap();
    assert_eq!(manager.execute("panics", Call::new()).await.unwrap().json, "fine");
}

#[tokio::test]
async fn a_panic_of_a_scheduler_or_monitor_is_an_error_and_the_manager_goes_on() {
    let broken = Arc::<Broken>::default();
    let (manager, _dir) = manager(&broken);
    manager.register(Arc::new(Panics), json!({})).await.unwrap();
    broken.0.store(true, Ordering::SeqCst);
    let error = manager.execute("panics", Call::new()).await.unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::Internal, Some("panics")));
    assert!(error.to_string().contains("the host's scheduler panicked: it is broken"), "{error}");
    assert_eq!(manager.system(), SystemSnapshot::default());
    broken.0.store(false, Ordering::SeqCst);
    assert_eq!(manager.execute("panics", Call::new()).await.unwrap().json, "fine");
    assert_eq!(manager.system().cpus, 3);
}

/// Admits only at once, or panics.
struct AtOnce {
    panics: bool,
}

#[async_trait]
impl Scheduler for AtOnce {
    async fn admit(&self, _need: &Need, _call: &CallHandle) -> Result<Admission> {
        Err(PluginError::unavailable("it was asked to admit"))
    }

    fn admit_at_once(&self, _need: &Need) -> Option<Admission> {
        assert!(!self.panics, "not at once");
        Some(Admission::default())
    }
}

#[tokio::test]
async fn a_scheduler_that_admits_at_once_is_asked_nothing_else_unless_it_panics() {
    for panics in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let builder = PluginManager::builder().manifests(dir.path()).data_dir(dir.path());
        let manager = builder.scheduler(Arc::new(AtOnce { panics })).build().unwrap();
        manager.register(Arc::new(Panics), json!({})).await.unwrap();
        let result = manager.execute("panics", Call::new()).await;
        match panics {
            false => assert_eq!(result.unwrap().json, "fine"),
            true => assert!(result.unwrap_err().to_string().contains("it was asked to admit")),
        }
    }
}

#[test]
fn a_panic_of_an_audit_sink_is_a_record_that_was_not_written() {
    let broken = Arc::<Broken>::default();
    broken.0.store(true, Ordering::SeqCst);
    let sink = CatchPanic(broken as Arc<dyn AuditSink>);
    let record = AuditRecord::new("p", "permissions.network", "");
    assert!(sink.record(&record).unwrap_err().to_string().contains("the host's audit sink panicked"));
}
