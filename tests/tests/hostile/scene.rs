//! The setup of every test of the suite: a host with an attacker and a neighbour.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bivium::{Call, ErrorCode, Payload, PluginError, PluginManager, Resolver, WasmConfig};
use bivium_tests::root;
use futures_util::StreamExt;
use serde_json::{Value, json};

/// Long enough for a busy machine; an attack that is not stopped never ends.
pub(crate) const STOPPED: Duration = Duration::from_secs(60);

/// The attacker's name.
const ATTACKER: &str = "attacker";
/// The well-behaved plugin's name.
const NEIGHBOUR: &str = "neighbour";
/// Calls that it answers during each attack.
const CALLS: usize = 100;

/// One host with both plugins, on one engine.
pub(crate) struct Scene {
    pub(crate) manager: PluginManager,
    directory: tempfile::TempDir,
}

/// The resolver of the test.
struct Names;

impl Resolver for Names {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses: &[&str] = match name {
            "loopback.test" => &["127.0.0.1"],
            "metadata.test" => &["169.254.169.254"],
            "mapped.test" => &["::ffff:10.0.0.1"],
            "mixed.test" => &["93.184.216.34", "::1"],
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// The component of a guest in `tests/guests`.
pub(crate) fn guest(name: &str) -> PathBuf {
    root().join(format!("tests/guests/target/guests/{name}.wasm"))
}

fn declare(directory: &Path, name: &str, component: &Path, more: Value) {
    let mut manifest = json!({"name": name, "version": "1.0.0", "component": component});
    let Value::Object(more) = more else { panic!("further keys are an object") };
    manifest.as_object_mut().unwrap().extend(more);
    std::fs::write(directory.join(format!("{name}.json")), manifest.to_string()).unwrap();
}

impl Scene {
    /// The guest `misbehave` as the attacker, with further keys in its manifest.
    pub(crate) async fn misbehave(more: Value) -> Self {
        Self::of(&guest("misbehave"), more).await
    }

    /// The given component as the attacker, loaded.
    pub(crate) async fn of(component: &Path, more: Value) -> Self {
        let scene = Self::with(component, more).await;
        scene.manager.load(ATTACKER).await.unwrap();
        scene
    }

    /// A component as text as the attacker, loaded.
    pub(crate) async fn text(text: &str, more: Value) -> Self {
        let (_kept, path) = write(&wat::parse_str(text).unwrap());
        Self::of(&path, more).await
    }

    /// The given component as the attacker, not loaded yet.
    pub(crate) async fn with(component: &Path, more: Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        declare(directory.path(), ATTACKER, component, more);
        declare(directory.path(), NEIGHBOUR, &guest("twin"), json!({"name": NEIGHBOUR}));
        let data = directory.path().join("data");
        let wasm = WasmConfig::new().resolver(Names);
        let manager = PluginManager::builder().manifests(directory.path()).data_dir(data).wasm(wasm).build().unwrap();
        manager.load(NEIGHBOUR).await.unwrap();
        Self { manager, directory }
    }

    /// Loading the attacker fails with this code while the neighbour serves.
    pub(crate) async fn is_refused(&self, code: ErrorCode, words: &[&str]) -> PluginError {
        let error = self.attack(self.manager.load(ATTACKER)).await.unwrap_err();
        self.says(&error, code, words);
        error
    }

    /// Runs the attack while the neighbour answers its calls.
    pub(crate) async fn attack<T>(&self, attack: impl Future<Output = T>) -> T {
        let manager = self.manager.clone();
        let neighbour = tokio::spawn(async move {
            for n in 0..CALLS {
                let call = Call::new().named("text", n.to_string());
                let answer = manager.execute(NEIGHBOUR, call).await.expect("the neighbour is hurt");
                assert_eq!(answer.json, json!({"text": format!("hello {n}")}));
            }
        });
        let attacked = tokio::time::timeout(STOPPED, attack).await.expect("the attacker is not stopped");
        tokio::time::timeout(STOPPED, neighbour).await.expect("the neighbour is starved").unwrap();
        let stats = self.manager.stats(NEIGHBOUR).await.unwrap();
        assert_eq!((stats.restarts, stats.failed), (0, 0), "the neighbour is hurt");
        attacked
    }

    pub(crate) async fn execute(&self, call: Call) -> Result<Payload, PluginError> {
        self.manager.execute(ATTACKER, call).await
    }

    /// A call to the attacker fails with this code and these words in one line; the neighbour serves meanwhile, and the
    /// attacker's plugin afterwards.
    pub(crate) async fn fails(&self, call: Call, code: ErrorCode, words: &[&str]) -> PluginError {
        let error = self.attack(self.execute(call)).await.unwrap_err();
        self.says(&error, code, words);
        error
    }

    pub(crate) async fn fails_in(&self, method: &'static str, code: ErrorCode, words: &[&str]) -> PluginError {
        self.fails(Call::new().method(method), code, words).await
    }

    /// All items of a stream of the attacker, and how the stream ends.
    pub(crate) async fn drain(&self, call: Call) -> (Vec<Value>, Option<PluginError>) {
        let mut items = Vec::new();
        let mut stream = match self.manager.execute_stream(ATTACKER, call).await {
            Ok(stream) => stream,
            Err(error) => return (items, Some(error)),
        };
        while let Some(item) = stream.next().await {
            match item {
                Ok(payload) => items.push(payload.json),
                Err(error) => return (items, Some(error)),
            }
        }
        (items, None)
    }

    #[track_caller]
    pub(crate) fn says(&self, error: &PluginError, code: ErrorCode, words: &[&str]) {
        assert_eq!((error.code(), error.plugin()), (code, Some(ATTACKER)), "{error}");
        let text = error.to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }

    /// Checks that the attacker's plugin serves, by a new instance if the last one was dropped.
    pub(crate) async fn still_serves(&self) {
        let call = Call::new().method("echo").named("a", 1);
        assert_eq!(self.execute(call).await.unwrap().json, json!({"a": 1}));
    }

    /// Ends everything; nothing may be left in the exchange.
    pub(crate) async fn end(self) {
        for report in self.manager.unload_all().await {
            report.result.unwrap();
        }
        // A write that was in progress when its call ended is finished on a thread of its own.
        let gone = async {
            while self.manager.exchange().usage().blobs > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
        assert!(gone.is_ok(), "blobs are left in the exchange");
        drop(self.directory);
    }
}

/// Writes a component to a file, which exists as long as the directory.
pub(crate) fn write(component: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("component.wasm");
    std::fs::write(&path, component).unwrap();
    (directory, path)
}
