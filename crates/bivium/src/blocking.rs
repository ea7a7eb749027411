//! The manager for synchronous callers, which need no async runtime.
//!
//! Every call here blocks until it is done. In async code, where this would stop other tasks, it fails with `unavailable`: use
//! [`crate::PluginManager`] there.

use std::future::Future;
use std::sync::Arc;

use bivium_interface::{Call, CallId, MethodInfo, Payload, PluginError, PluginInterface, Result, Stats, TypedStream};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::pipeline::{Event, Outcome, Pipeline, RunOptions};
use crate::{Freed, Inspection, LoadReport, ManagerBuilder, Source, UnloadReport};

/// A tokio runtime. Dropping it does not wait for tasks that still run on it.
#[derive(Clone)]
struct Waiter(Arc<OwnedRuntime>);

struct OwnedRuntime(Option<Runtime>);

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Waiter {
    fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("bivium").enable_all().build();
        let runtime = runtime.map_err(|error| PluginError::internal(format!("cannot start a runtime: {error}")))?;
        Ok(Self(Arc::new(OwnedRuntime(Some(runtime)))))
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.0.0 {
            Some(runtime) if Handle::try_current().is_err() => runtime.block_on(work),
            _ => Err(PluginError::unavailable("a blocking call was made from async code")
                .with_help("use `bivium::PluginManager` there")),
        }
    }
}

/// [`crate::PluginManager`] for synchronous callers. Dropping it unloads every plugin.
///
/// Methods that do not wait are those of the async manager: see [`manager`](Self::manager).
pub struct PluginManager {
    waiter: Waiter,
    manager: crate::PluginManager,
}

impl PluginManager {
    /// A manager with the defaults.
    ///
    /// # Errors
    /// `internal` if the exchange or the runtime cannot be made.
    pub fn new() -> Result<Self> {
        Self::build(crate::PluginManager::builder())
    }

    /// A manager with the builder's settings.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn build(builder: ManagerBuilder) -> Result<Self> {
        Ok(Self { waiter: Waiter::new()?, manager: builder.build()? })
    }

    /// The async manager. Synchronous callers can use its methods that are not `async`: discovery, metadata, enabling, configurations,
    /// progress, cancelling, logs, the machine.
    #[must_use]
    pub fn manager(&self) -> &crate::PluginManager {
        &self.manager
    }

    /// [`crate::PluginManager::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(&self, name: &str) -> Result<()> {
        self.waiter.wait(self.manager.load(name))
    }

    /// [`crate::PluginManager::load_with`].
    ///
    /// # Errors
    /// As there.
    pub fn load_with(&self, name: &str, config: Value) -> Result<()> {
        self.waiter.wait(self.manager.load_with(name, config))
    }

    /// [`crate::PluginManager::load_changed`].
    ///
    /// # Errors
    /// As there.
    pub fn load_changed(&self, name: &str, changes: Value) -> Result<()> {
        self.waiter.wait(self.manager.load_changed(name, changes))
    }

    /// [`crate::PluginManager::load_all`].
    ///
    /// # Errors
    /// `unavailable` from async code. Errors of a plugin are in its report.
    pub fn load_all(&self) -> Result<Vec<LoadReport>> {
        self.waiter.wait(async { Ok(self.manager.load_all().await) })
    }

    /// [`crate::PluginManager::register`].
    ///
    /// # Errors
    /// As there.
    pub fn register(&self, plugin: Arc<dyn PluginInterface>, config: Value) -> Result<()> {
        self.waiter.wait(self.manager.register(plugin, config))
    }

    /// [`crate::PluginManager::execute`]. Another thread can cancel the call with its handle.
    ///
    /// # Errors
    /// As there.
    pub fn execute(&self, name: &str, call: Call) -> Result<Payload> {
        self.waiter.wait(self.manager.execute(name, call))
    }

    /// [`crate::PluginManager::execute_stream`], as an iterator.
    ///
    /// # Errors
    /// As there.
    pub fn stream(&self, name: &str, call: Call) -> Result<Results> {
        let stream = self.waiter.wait(self.manager.execute_stream(name, call))?;
        Ok(Results { waiter: self.waiter.clone(), stream: Box::pin(stream) })
    }

    /// [`crate::PluginManager::call_typed`].
    ///
    /// # Errors
    /// As there.
    pub fn call_typed<Out: DeserializeOwned>(&self, name: &str, input: impl Serialize) -> Result<Out> {
        self.waiter.wait(self.manager.call_typed(name, input))
    }

    /// [`crate::PluginManager::stream_typed`], as an iterator.
    ///
    /// # Errors
    /// As there.
    pub fn stream_typed<Out: DeserializeOwned + 'static>(
        &self,
        name: &str,
        input: impl Serialize,
    ) -> Result<Results<Out>> {
        let stream = self.waiter.wait(self.manager.stream_typed(name, input))?;
        Ok(Results { waiter: self.waiter.clone(), stream })
    }

    /// [`crate::PluginManager::methods`].
    ///
    /// # Errors
    /// As there.
    pub fn methods(&self, name: &str) -> Result<Vec<MethodInfo>> {
        self.waiter.wait(self.manager.methods(name))
    }

    /// [`crate::PluginManager::update_config`].
    ///
    /// # Errors
    /// As there.
    pub fn update_config(&self, name: &str, changes: Value) -> Result<Value> {
        self.waiter.wait(self.manager.update_config(name, changes))
    }

    /// [`crate::PluginManager::save_config`].
    ///
    /// # Errors
    /// As there.
    pub fn save_config(&self, name: &str, changes: Value) -> Result<Value> {
        self.waiter.wait(self.manager.save_config(name, changes))
    }

    /// [`crate::PluginManager::inspect`].
    ///
    /// # Errors
    /// As there.
    pub fn inspect(&self, name: &str) -> Result<Inspection> {
        self.waiter.wait(self.manager.inspect(name))
    }

    /// [`crate::PluginManager::compile`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "wasm")]
    pub fn compile(&self, name: &str) -> Result<crate::Compilation> {
        self.waiter.wait(self.manager.compile(name))
    }

    /// [`crate::PluginManager::compile_file`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "wasm")]
    pub fn compile_file(&self, component: &std::path::Path) -> Result<crate::Compilation> {
        self.waiter.wait(self.manager.compile_file(component))
    }

    /// [`crate::PluginManager::stats`].
    ///
    /// # Errors
    /// As there.
    pub fn stats(&self, name: &str) -> Result<Stats> {
        self.waiter.wait(self.manager.stats(name))
    }

    /// [`crate::PluginManager::reload`].
    ///
    /// # Errors
    /// As there.
    pub fn reload(&self, name: &str) -> Result<()> {
        self.waiter.wait(self.manager.reload(name))
    }

    /// [`crate::PluginManager::unload`].
    ///
    /// # Errors
    /// As there.
    pub fn unload(&self, name: &str) -> Result<Freed> {
        self.waiter.wait(self.manager.unload(name))
    }

    /// [`crate::PluginManager::unload_all`].
    ///
    /// # Errors
    /// `unavailable` from async code. Errors of a plugin are in its report.
    pub fn unload_all(&self) -> Result<Vec<UnloadReport>> {
        self.waiter.wait(async { Ok(self.manager.unload_all().await) })
    }

    /// [`Pipeline::run`].
    ///
    /// # Errors
    /// As there.
    pub fn run(
        &self,
        pipeline: &Pipeline,
        inputs: Payload,
        options: &RunOptions,
        on_event: &(dyn Fn(Event<'_>) + Send + Sync),
    ) -> Result<Outcome> {
        self.waiter.wait(pipeline.run(&self.manager, inputs, options, on_event))
    }
}

impl Drop for PluginManager {
    fn drop(&mut self) {
        // In async code nothing can wait here; dropping the plugins frees what they hold.
        let _ = self.unload_all();
    }
}

/// The results of a streaming call: payloads, or values of the caller's own type. Dropping them cancels the call.
pub struct Results<T = Payload> {
    waiter: Waiter,
    stream: TypedStream<T>,
}

impl<T> Iterator for Results<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.waiter.wait(async { Ok(self.stream.next().await) }).unwrap_or_else(|error| Some(Err(error)))
    }
}

/// One plugin without a manager. It is started by [`open`](Self::open) and ended when this is dropped.
pub struct Plugin {
    waiter: Waiter,
    plugin: Arc<dyn PluginInterface>,
}

impl Plugin {
    /// Starts a plugin from a [`Source`], with this configuration. See [`crate::open`].
    ///
    /// # Errors
    /// Those of [`crate::open`] and of `initialize`.
    pub fn open(source: impl Into<Source>, config: Value) -> Result<Self> {
        let waiter = Waiter::new()?;
        let plugin = waiter.wait(crate::open(source, config))?;
        Ok(Self { waiter, plugin })
    }

    /// Runs a call.
    ///
    /// # Errors
    /// As [`PluginInterface::execute`].
    pub fn execute(&self, call: Call) -> Result<Payload> {
        self.waiter.wait(self.plugin.execute(call))
    }

    /// Starts a streaming call.
    ///
    /// # Errors
    /// As [`PluginInterface::execute_stream`].
    pub fn stream(&self, call: Call) -> Result<Results> {
        let stream = self.waiter.wait(self.plugin.execute_stream(call))?;
        Ok(Results { waiter: self.waiter.clone(), stream: Box::pin(stream) })
    }

    /// Runs a call with the caller's own types: see [`crate::PluginManager::call_typed`].
    ///
    /// # Errors
    /// As there.
    pub fn call_typed<Out: DeserializeOwned>(&self, input: impl Serialize) -> Result<Out> {
        self.waiter.wait(self.plugin.call_typed(input))
    }

    /// Starts a streaming call with the caller's own types.
    ///
    /// # Errors
    /// As [`crate::PluginManager::stream_typed`].
    pub fn stream_typed<Out: DeserializeOwned + 'static>(&self, input: impl Serialize) -> Result<Results<Out>> {
        let stream = self.waiter.wait(self.plugin.stream_typed(input))?;
        Ok(Results { waiter: self.waiter.clone(), stream })
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// As [`PluginInterface::initialize`].
    pub fn initialize(&self, config: Value) -> Result<()> {
        self.waiter.wait(self.plugin.initialize(config))
    }

    /// The methods, as far as they are known.
    ///
    /// # Errors
    /// As [`PluginInterface::methods`].
    pub fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.waiter.wait(self.plugin.methods())
    }

    /// JSON Schema of the configuration.
    ///
    /// # Errors
    /// As [`PluginInterface::config_schema`].
    pub fn config_schema(&self) -> Result<Value> {
        self.waiter.wait(self.plugin.config_schema())
    }

    /// The current configuration.
    ///
    /// # Errors
    /// As [`PluginInterface::current_config`].
    pub fn current_config(&self) -> Result<Value> {
        self.waiter.wait(self.plugin.current_config())
    }

    /// Counters and use of resources.
    ///
    /// # Errors
    /// As [`PluginInterface::stats`].
    pub fn stats(&self) -> Result<Stats> {
        self.waiter.wait(self.plugin.stats())
    }

    /// The position of a waiting call in the plugin's queue, where 1 is next.
    #[must_use]
    pub fn position(&self, call: CallId) -> Option<usize> {
        self.plugin.position(call)
    }

    /// Whether the plugin could run a call now.
    ///
    /// # Errors
    /// `unavailable` from async code.
    pub fn is_alive(&self) -> Result<bool> {
        self.waiter.wait(async { Ok(self.plugin.is_alive().await) })
    }

    /// The plugin itself.
    #[must_use]
    pub fn plugin(&self) -> &Arc<dyn PluginInterface> {
        &self.plugin
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.waiter.wait(self.plugin.cleanup());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use bivium_interface::async_trait;
    use serde_json::json;

    use super::*;

    struct Echo;

    #[async_trait]
    impl PluginInterface for Echo {
        fn name(&self) -> &str {
            "echo"
        }

        fn version(&self) -> &str {
            "1"
        }

        async fn initialize(&self, _config: Value) -> Result<()> {
            Ok(())
        }

        async fn execute(&self, call: Call) -> Result<Payload> {
            Ok(Value::Object(call.named).into())
        }
    }

    /// The names of the public methods in blocks that begin with this line, in this file or in all Rust files of this directory. With
    /// `waits`, only async methods.
    fn methods_of(block: &str, path: &str, waits: bool) -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let entries = path.is_dir().then(|| std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        let files: Vec<PathBuf> = entries.map_or_else(|| vec![path.clone()], Iterator::collect);
        let (mut names, is_trait) = (BTreeSet::new(), block.starts_with("pub trait"));
        for file in files.iter().filter(|path| path.is_file()) {
            let text = std::fs::read_to_string(file).unwrap();
            // With rustfmt, a block ends with a brace at the beginning of a line.
            for block in text.split(&format!("\n{block} {{\n")).skip(1).map(|rest| rest.split("\n}\n").next().unwrap())
            {
                for function in block.split("\n    ").filter(|line| line.contains("fn ")) {
                    let (head, rest) = function.split_once("fn ").unwrap();
                    let is_public = head.starts_with("pub ") || is_trait;
                    if is_public && (head.contains("async") || !waits) {
                        names.insert(rest.split(['<', '(']).next().unwrap().to_owned());
                    }
                }
            }
        }
        names
    }

    #[test]
    fn every_async_method_has_a_blocking_form() {
        let here = "src/blocking.rs";
        for (block, path, ours) in [
            ("impl PluginManager", "src/manager", "impl PluginManager"),
            ("pub trait PluginInterface: Send + Sync + 'static", "../bivium-interface/src/plugin.rs", "impl Plugin"),
        ] {
            let (waits, has) = (methods_of(block, path, true), methods_of(ours, here, false));
            assert!(waits.len() > 8 && has.len() > 8, "{waits:?} {has:?}");
            // The iterator has a different name, and a blocking plugin ends when it is dropped.
            let elsewhere = ["execute_stream", "cleanup"];
            let missing: Vec<&String> =
                waits.difference(&has).filter(|name| !elsewhere.contains(&name.as_str())).collect();
            assert!(missing.is_empty() && has.contains("stream"), "{missing:?}");
        }
    }

    #[test]
    fn a_manager_takes_and_gives_types_of_the_callers() {
        let dir = tempfile::tempdir().unwrap();
        let builder = crate::PluginManager::builder().manifests(dir.path()).data_dir(dir.path());
        let manager = PluginManager::build(builder).unwrap();
        manager.register(Arc::new(Echo), json!({})).unwrap();
        let input = BTreeMap::from([("n", 7)]);
        let output: BTreeMap<String, u8> = manager.call_typed("echo", &input).unwrap();
        assert_eq!(output["n"], 7);
        let outputs: Vec<BTreeMap<String, u8>> =
            manager.stream_typed("echo", &input).unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(outputs, [output]);
        let error = manager.call_typed::<u8>("echo", &input).unwrap_err();
        assert_eq!((error.code(), error.plugin()), (bivium_interface::ErrorCode::Protocol, Some("echo")));
    }
}
