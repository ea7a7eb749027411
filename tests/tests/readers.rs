//! Streams whose readers are slower than their plugins, or have stopped: a deadline, a cancel and an unload end them like any
//! other stream, on both runtimes and for a plugin type of the host.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bivium::{Call, ErrorCode, Payload, PayloadStream, PluginInterface, PluginManager, Result, async_trait};
use bivium_tests::{root, until};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

/// Far longer than ending takes after a deadline, far shorter than an endless stream.
const SOON: Duration = Duration::from_secs(10);

const PLUGINS: [&str; 3] = ["component", "worker", "own"];

const ENDLESS: &str = "
class P:
    def execute(self):
        return 1

    def for_ever(self):
        while True:
            yield 1
";

/// A plugin that ignores deadlines and cancels.
struct Own;

#[async_trait]
impl PluginInterface for Own {
    fn name(&self) -> &str {
        "own"
    }

    fn version(&self) -> &str {
        "1"
    }

    async fn initialize(&self, _config: Value) -> Result<()> {
        Ok(())
    }

    async fn execute(&self, _call: Call) -> Result<Payload> {
        Ok(json!(1).into())
    }

    async fn execute_stream(&self, _call: Call) -> Result<PayloadStream> {
        Ok(PayloadStream::new(stream::repeat_with(|| Ok(json!(1).into()))))
    }
}

struct Host {
    _dir: tempfile::TempDir,
    manager: PluginManager,
}

async fn host() -> Host {
    let dir = tempfile::tempdir().unwrap();
    let component = root().join("tests/guests/target/guests/misbehave.wasm");
    let manifest = json!({"name": "component", "version": "1.0.0", "component": component});
    std::fs::write(dir.path().join("component.json"), manifest.to_string()).unwrap();
    bivium_tests::plugin(dir.path(), "worker", ENDLESS, json!({}));
    let manager = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data")).build().unwrap();
    for name in ["component", "worker"] {
        manager.load(name).await.unwrap();
    }
    manager.register(Arc::new(Own), json!({})).await.unwrap();
    Host { _dir: dir, manager }
}

fn for_ever(name: &str) -> Call {
    Call::new().method(if name == "component" { "for-ever" } else { "for_ever" })
}

fn quick(name: &str) -> Call {
    Call::new().method(if name == "component" { "echo" } else { Call::EXECUTE })
}

/// Reads to the end with this pause between two results; returns the code of the error at the end.
async fn read(mut stream: PayloadStream, pause: Duration) -> ErrorCode {
    loop {
        match stream.next().await.expect("an error, and no mere end") {
            Ok(payload) => assert!(payload.json.is_number(), "{}", payload.json),
            Err(error) => {
                assert!(stream.next().await.is_none(), "it goes on after its error");
                return error.code();
            }
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_and_a_cancel_end_what_is_read_slowly_or_greedily() {
    let host = host().await;
    for name in PLUGINS {
        for pause in [Duration::ZERO, Duration::from_millis(2)] {
            let call = for_ever(name).timeout(Duration::from_millis(300));
            let started = Instant::now();
            let code = read(host.manager.execute_stream(name, call).await.unwrap(), pause).await;
            assert_eq!(code, ErrorCode::Timeout, "{name} {pause:?}");
            assert!(started.elapsed() < SOON, "{name} {pause:?}: {:?}", started.elapsed());

            let call = for_ever(name);
            let handle = call.handle().clone();
            let stream = host.manager.execute_stream(name, call).await.unwrap();
            let reader = tokio::spawn(read(stream, pause));
            tokio::time::sleep(Duration::from_millis(200)).await;
            handle.cancel();
            let code = tokio::time::timeout(SOON, reader).await.expect("it ends").unwrap();
            assert_eq!(code, ErrorCode::Cancelled, "{name} {pause:?}");
        }
        host.manager.execute(name, quick(name)).await.unwrap();
    }
}

#[tokio::test]
async fn on_one_thread_a_reader_that_never_waits_is_ended_too() {
    let host = host().await;
    for name in PLUGINS {
        let call = for_ever(name).timeout(Duration::from_millis(300));
        let started = Instant::now();
        let code = read(host.manager.execute_stream(name, call).await.unwrap(), Duration::ZERO).await;
        assert_eq!(code, ErrorCode::Timeout, "{name}");
        assert!(started.elapsed() < SOON, "{name}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_reader_that_has_stopped_keeps_nothing_beyond_its_calls_end() {
    let host = host().await;
    for name in PLUGINS {
        for cancels in [false, true] {
            let mut call = for_ever(name);
            if !cancels {
                call = call.timeout(Duration::from_millis(300));
            }
            let handle = call.handle().clone();
            let mut stream = host.manager.execute_stream(name, call).await.unwrap();
            stream.next().await.unwrap().unwrap();
            if cancels {
                handle.cancel();
            }
            // Its place is free for another call, though nobody has read the rest.
            let next = host.manager.execute(name, quick(name));
            tokio::time::timeout(SOON, next).await.expect("its place is free").unwrap();
            until(async || host.manager.calls(name).unwrap().is_empty()).await;
            let code = stream.next().await.unwrap().unwrap_err().code();
            assert_eq!(code, if cancels { ErrorCode::Cancelled } else { ErrorCode::Timeout }, "{name}");
            assert!(stream.next().await.is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unload_ends_what_is_read_slowly_and_what_is_not_read() {
    let host = host().await;
    let mut readers = Vec::new();
    let mut held = Vec::new();
    for name in PLUGINS {
        readers.push(tokio::spawn(read(
            host.manager.execute_stream(name, for_ever(name)).await.unwrap(),
            Duration::from_millis(2),
        )));
    }
    // Another host, since a plugin runs one call at a time.
    let other = self::host().await;
    for name in PLUGINS {
        held.push(other.manager.execute_stream(name, for_ever(name)).await.unwrap());
    }
    let started = Instant::now();
    let (first, second) = tokio::join!(host.manager.unload_all(), other.manager.unload_all());
    // The calls have five seconds to end by themselves.
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    for report in first.into_iter().chain(second) {
        report.result.unwrap();
    }
    for reader in readers {
        let code = tokio::time::timeout(SOON, reader).await.expect("it ends").unwrap();
        assert_eq!(code, ErrorCode::Cancelled);
    }
    for stream in held {
        assert_eq!(read(stream, Duration::ZERO).await, ErrorCode::Cancelled);
    }
}
