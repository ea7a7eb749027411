//! Plugins of cjm-plugin-system and cjm-substrate, as published, on this host: run by `cargo xtask test --cjm`, which
//! makes their environments and says where.
//!
//! `published` has what their authors ship; `probe` what those do not show, by a class on the same two bases. `bare` needs none of
//! this.

mod bare;
mod probe;
mod program;
mod published;

use std::path::PathBuf;

use bivium::cjm::Installation;
use bivium::{Call, ManagerBuilder, Payload, PluginManager, Progress, Result};
use serde_json::Value;

/// The installation that `cargo xtask test --cjm` has made.
fn place() -> PathBuf {
    let place = std::env::var_os("BIVIUM_CJM").expect("no environments: run `cargo xtask test --cjm`");
    PathBuf::from(place)
}

fn speech() -> PathBuf {
    bivium_tests::root().join("examples/pipelines/transcribe/speech.wav")
}

/// A host of those plugins, with a data directory of the test's own.
struct Host {
    dir: tempfile::TempDir,
    manager: PluginManager,
}

impl Host {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(more: impl FnOnce(ManagerBuilder) -> ManagerBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Installation::read(&place()).unwrap().manifests;
        let builder = PluginManager::builder().manifests(&manifests[0]).data_dir(dir.path());
        Self { manager: more(builder).build().unwrap(), dir }
    }

    async fn loaded(name: &str) -> Self {
        let host = Self::with(|builder| builder.secret("PROBE_KEY", "open sesame"));
        host.manager.load(name).await.unwrap();
        host
    }

    /// The plugin's data directory.
    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join("cjm/data").join(name)
    }

    async fn call(&self, name: &str, call: Call) -> Result<Value> {
        Ok(self.manager.execute(name, call).await?.json)
    }

    /// The value of a typed result, whose kind must be this one.
    async fn typed(&self, name: &str, call: Call, kind: &str) -> Value {
        let mut result = self.call(name, call).await.unwrap();
        assert_eq!(result["__wire__"], kind, "{result}");
        result["data"].take()
    }

    /// Runs a call, and collects the progress that it tells.
    async fn watched(&self, name: &str, call: Call) -> (Result<Payload>, Vec<Progress>) {
        // Held, so that what was told last is there when the call has ended.
        let handle = call.handle().clone();
        let mut progress = handle.progress();
        let mut told = Vec::new();
        let mut running = Box::pin(self.manager.execute(name, call));
        let result = loop {
            tokio::select! {
                result = &mut running => break result,
                changed = progress.changed() => {
                    changed.unwrap();
                    told.push(progress.borrow_and_update().clone());
                }
            }
        };
        if progress.has_changed().unwrap() {
            told.push(progress.borrow().clone());
        }
        (result, told)
    }

    /// Runs a call and cancels it once its progress has this message.
    async fn cancelled_at(&self, name: &str, call: Call, message: &str) -> Result<Payload> {
        let handle = call.handle().clone();
        let mut progress = handle.progress();
        let cancel = async {
            progress.wait_for(|progress| progress.message == message).await.unwrap();
            handle.cancel();
        };
        tokio::join!(self.manager.execute(name, call), cancel).0
    }

    fn log(&self, name: &str) -> Vec<String> {
        self.manager.logs(name, 1000).unwrap().into_iter().map(|record| record.message).collect()
    }
}

fn method(name: &'static str) -> Call {
    Call::new().method(name)
}
