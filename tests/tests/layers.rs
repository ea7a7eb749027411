//! A host's own layers around plugins of both runtimes and of a type of the host.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bivium::monitor::MachineMonitor;
use bivium::scheduler::{Admission, Need, Scheduler};
use bivium::{
    Call, CallHandle, ErrorCode, ManagerBuilder, Payload, PayloadStream, PluginError, PluginInterface, PluginManager,
    Result, Wrapper, async_trait,
};
use bivium_tests::{TWINS, root};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

#[expect(dead_code, reason = "its `main` is for those who run it")]
#[path = "../../examples/hosts/layer.rs"]
mod example;

fn builder(own: &tempfile::TempDir) -> ManagerBuilder {
    PluginManager::builder()
        .manifests(root().join("tests/plugins"))
        .manifests(root().join("tests/guests"))
        .data_dir(own.path())
        .monitor(Arc::new(MachineMonitor::default()))
}

fn call() -> Call {
    Call::new().timeout(Duration::from_secs(60))
}

/// What the layers have seen of calls.
type Seen = Arc<Mutex<Vec<String>>>;

/// A layer that records calls.
struct Noted {
    inner: Arc<dyn PluginInterface>,
    name: &'static str,
    seen: Seen,
}

fn noted(name: &'static str, seen: &Seen) -> impl Fn(Arc<dyn PluginInterface>) -> Arc<dyn PluginInterface> + use<> {
    let seen = Arc::clone(seen);
    move |inner| Arc::new(Noted { inner, name, seen: Arc::clone(&seen) })
}

impl Noted {
    fn note(&self, what: &str) {
        self.seen.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

#[async_trait]
impl Wrapper for Noted {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.inner
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        self.note("in");
        let result = self.inner.execute(call).await;
        self.note("out");
        result
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        self.note("stream");
        let seen = Arc::clone(&self.seen);
        let stream = self.inner.execute_stream(call).await?;
        Ok(PayloadStream::new(stream.inspect(move |_| seen.lock().unwrap().push("item".to_owned()))))
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        self.note("initialize");
        self.inner.initialize(config).await
    }

    async fn cleanup(&self) -> Result<()> {
        self.note("cleanup");
        self.inner.cleanup().await
    }
}

/// An admission that records the plugins that it admits.
struct Admits(Seen);

#[async_trait]
impl Scheduler for Admits {
    async fn admit(&self, need: &Need, _call: &CallHandle) -> Result<Admission> {
        self.0.lock().unwrap().push(format!("admitted {}", need.plugin));
        Ok(Admission::default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_see_every_call_in_their_order_before_it_is_admitted() {
    let (own, seen) = (tempfile::tempdir().unwrap(), Seen::default());
    let take = || std::mem::take(&mut *seen.lock().unwrap());
    let builder = builder(&own).layer(noted("outer", &seen)).layer(noted("inner", &seen));
    let manager = builder.scheduler(Arc::new(Admits(Arc::clone(&seen)))).build().unwrap();
    for twin in TWINS {
        manager.load(twin).await.unwrap();
        assert_eq!(take(), ["outer initialize", "inner initialize"], "{twin}");
        let result = manager.execute(twin, call().named("text", "you")).await.unwrap();
        assert_eq!(result.json, json!({"text": "hello you"}));
        assert_eq!(take(), ["outer in", "inner in", &format!("admitted {twin}"), "inner out", "outer out"]);
        let stream = manager.execute_stream(twin, call().named("text", "a b")).await.unwrap();
        assert_eq!(stream.map(Result::unwrap).count().await, 2);
        assert_eq!(take().iter().filter(|what| *what == "item").count(), 4, "{twin}: each layer sees both");
        assert!(!manager.methods(twin).await.unwrap().is_empty(), "a layer passes on what it does not implement");
        manager.unload(twin).await.unwrap();
        assert_eq!(take(), ["outer cleanup", "inner cleanup"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_answers_by_itself_keeps_calls_from_the_plugin() {
    let own = tempfile::tempdir().unwrap();
    let manager = builder(&own).layer(example::cached).build().unwrap();
    for twin in TWINS {
        manager.load(twin).await.unwrap();
        for _ in 0..3 {
            let result = manager.execute(twin, call().named("text", "you")).await.unwrap();
            assert_eq!(result.json, json!({"text": "hello you"}));
        }
        assert_eq!(manager.stats(twin).await.unwrap().calls, 1, "{twin}");
        // A call that does not come through the manager has no layers.
        manager.get(twin).unwrap().execute(call().named("text", "you")).await.unwrap();
        assert_eq!(manager.stats(twin).await.unwrap().calls, 2, "{twin}");
    }
}

/// Calls again after an error.
struct Again {
    inner: Arc<dyn PluginInterface>,
    tried: Arc<AtomicU32>,
}

#[async_trait]
impl Wrapper for Again {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.inner
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        match self.inner.execute(call.clone()).await {
            Err(error) if error.code() == ErrorCode::PluginFailed => {
                self.tried.fetch_add(1, Ordering::SeqCst);
                self.inner.execute(call).await
            }
            other => other,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_may_call_again_and_its_error_is_of_the_callers_call() {
    let (own, tried) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&tried);
    let again = move |inner| Arc::new(Again { inner, tried: Arc::clone(&count) }) as Arc<dyn PluginInterface>;
    let manager = builder(&own).layer(again).build().unwrap();
    for twin in TWINS {
        manager.load(twin).await.unwrap();
        tried.store(0, Ordering::SeqCst);
        let failing = call().method("fail");
        let id = failing.id();
        let error = manager.execute(twin, failing).await.unwrap_err();
        assert_eq!((error.code(), error.plugin(), error.call()), (ErrorCode::PluginFailed, Some(twin), Some(id)));
        assert_eq!(tried.load(Ordering::SeqCst), 2, "{twin}");
    }
}

/// A layer whose stream ignores cancels and deadlines, and that panics for the method `panic`.
struct Careless(Arc<dyn PluginInterface>);

#[async_trait]
impl Wrapper for Careless {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.0
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        assert!(call.method != "panic", "a careless layer");
        self.0.execute(call).await
    }

    async fn execute_stream(&self, _call: Call) -> Result<PayloadStream> {
        Ok(PayloadStream::new(stream::repeat_with(|| Ok(json!(1).into()))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_careless_layer_does_is_an_error_of_its_call() {
    let own = tempfile::tempdir().unwrap();
    let manager = builder(&own).layer(|inner| Arc::new(Careless(inner)) as Arc<dyn PluginInterface>).build().unwrap();
    for twin in TWINS {
        manager.load(twin).await.unwrap();
        let error = manager.execute(twin, call().method("panic")).await.unwrap_err();
        assert_eq!((error.code(), error.plugin()), (ErrorCode::PluginFailed, Some(twin)), "{error}");
        assert!(error.message().contains("a careless layer"), "{error}");

        let call = Call::new();
        let handle = call.handle().clone();
        let mut stream = manager.execute_stream(twin, call).await.unwrap();
        stream.next().await.unwrap().unwrap();
        assert_eq!(manager.calls(twin).unwrap().len(), 1);
        handle.cancel();
        let mut errors = stream.filter_map(|item| std::future::ready(item.err()));
        let last = errors.next().await;
        assert_eq!(last.map(|error| error.code()), Some(ErrorCode::Cancelled), "{twin}");
        assert!(manager.calls(twin).unwrap().is_empty());
        manager.unload(twin).await.unwrap();
    }
    let panics = |_| -> Arc<dyn PluginInterface> { panic!("no layer") };
    let manager = builder(&own).layer(panics).build().unwrap();
    let error: PluginError = manager.load(TWINS[0]).await.unwrap_err();
    assert!(error.code() == ErrorCode::PluginFailed && error.message().contains("no layer"), "{error}");
}
