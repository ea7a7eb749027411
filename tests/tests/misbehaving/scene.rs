//! The setup of every test of the suite: a host, the plugin `naughty`, and checks for what is left behind.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bivium::{Call, ErrorCode, Payload, PluginError, PluginManager};
use bivium_tests::{processes, root};
use serde_json::{Value, json};

/// Long enough for a busy machine; a call that is not stopped takes minutes or never ends.
pub(crate) const IN_TIME: Duration = Duration::from_secs(30);

const NAME: &str = "naughty";
const MARK: &str = "NAUGHTY_MARK";

pub(crate) struct Scene {
    pub(crate) manager: PluginManager,
    /// The value of [`MARK`] in the environment of every process of this test's plugin.
    mark: String,
    _directory: tempfile::TempDir,
}

impl Scene {
    /// A host with the plugin. `at_import` says what the plugin does when it is imported, if anything.
    pub(crate) fn new(at_import: &str, more: Value) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = json!({
            "name": NAME, "version": "1.0.0", "module": "naughty", "class": "Naughty",
            "source": root().join("tests/plugins/naughty"),
            "env_vars": {"NAUGHTY": at_import, MARK: mark, "PYTHONDONTWRITEBYTECODE": "1"},
        });
        let Value::Object(more) = more else { panic!("further keys are an object") };
        manifest.as_object_mut().unwrap().extend(more);
        std::fs::write(directory.path().join("naughty.json"), manifest.to_string()).unwrap();
        let data = directory.path().join("data");
        let manager = PluginManager::builder().manifests(directory.path()).data_dir(data).build().unwrap();
        Self { manager, mark, _directory: directory }
    }

    /// The same, loaded.
    pub(crate) async fn loaded(more: Value) -> Self {
        let scene = Self::new("", more);
        scene.in_time(scene.manager.load(NAME)).await.unwrap();
        scene
    }

    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::time::timeout(IN_TIME, work).await.expect("it takes too long")
    }

    pub(crate) async fn execute(&self, call: Call) -> Result<Payload, PluginError> {
        self.in_time(self.manager.execute(NAME, call)).await
    }

    pub(crate) async fn stream(&self, call: Call) -> (Vec<Value>, Option<PluginError>) {
        use futures_util::StreamExt as _;
        let mut items = Vec::new();
        let mut stream = match self.in_time(self.manager.execute_stream(NAME, call)).await {
            Ok(stream) => stream,
            Err(error) => return (items, Some(error)),
        };
        while let Some(item) = self.in_time(stream.next()).await {
            match item {
                Ok(payload) => items.push(payload.json),
                Err(error) => return (items, Some(error)),
            }
        }
        (items, None)
    }

    /// Loading fails with this code and these words.
    pub(crate) async fn does_not_load(&self, code: ErrorCode, words: &[&str]) -> PluginError {
        let error = self.in_time(self.manager.load(NAME)).await.unwrap_err();
        says(&error, code, words);
        error
    }

    /// A call fails with one of these codes and these words, and the next one is served.
    pub(crate) async fn fails(&self, call: Call, codes: &[ErrorCode], words: &[&str]) -> PluginError {
        let error = self.execute(call).await.unwrap_err();
        assert!(codes.contains(&error.code()), "{}: {error}", error.code());
        says(&error, error.code(), words);
        self.still_serves().await;
        error
    }

    pub(crate) async fn fails_in(&self, method: &'static str, code: ErrorCode, words: &[&str]) -> PluginError {
        self.fails(Call::new().method(method), &[code], words).await
    }

    pub(crate) async fn still_serves(&self) {
        let answer = self.execute(Call::new().named("a", 1)).await.unwrap();
        assert_eq!(answer.json, json!({"a": 1}));
    }

    /// Ends everything; nothing may be left.
    pub(crate) async fn end(self) {
        for report in self.in_time(self.manager.unload_all()).await {
            report.result.unwrap();
        }
        let usage = self.manager.exchange().usage();
        assert_eq!(usage.blobs, 0, "blobs are left in the exchange");
        processes::all_gone(&format!("{MARK}={}", self.mark), Duration::from_secs(5)).await.unwrap();
    }
}

#[track_caller]
pub(crate) fn says(error: &PluginError, code: ErrorCode, words: &[&str]) {
    assert_eq!((error.code(), error.plugin()), (code, Some(NAME)), "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}
