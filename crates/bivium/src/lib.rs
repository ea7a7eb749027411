//! Bivium: a plugin host with two roads. Light and untrusted plugins are WebAssembly components in a
//! deny-by-default sandbox; heavy ones are Python classes in worker processes, each in its own environment. Both
//! hide behind [`PluginInterface`], and large data passes between them as files.
//!
//! [`PluginManager`] finds, loads, configures, schedules, runs, watches, reloads and unloads them;
//! [`blocking`] does the same for synchronous callers, [`pipeline`] runs several in a row, and [`open`] starts one
//! without a manager.
//!
//! [`exchange`] is where large data lies, and [`manifest`] and [`policy`] say what plugins ask for and get.
//!
//! Structs that will have more fields are `#[non_exhaustive]`: they are made by their constructors or from JSON, and their fields can be
//! read and set.
//!
//! The features `wasm` and `python`, both on by default, say which runtimes are built; a plugin of the other one is `unavailable`.
//!
//! ```
//! use bivium::{Call, PluginManager};
//! use serde_json::json;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&dir).unwrap();
//! # std::fs::create_dir_all("plugins").unwrap();
//! std::fs::write("plugins/hello.py", "class Hello:\n    def execute(self, name): return {'text': f'hello {name}'}\n")?;
//! let manifest = json!({"name": "hello", "version": "1.0.0", "module": "hello", "class": "Hello", "source": "."});
//! std::fs::write("plugins/hello.json", manifest.to_string())?;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let manager = PluginManager::builder().manifests("plugins").data_dir("data").build()?;
//! manager.load("hello").await?;
//! let result = manager.execute("hello", Call::new().named("name", "you")).await?;
//! assert_eq!(result.json, json!({"text": "hello you"}));
//! manager.unload("hello").await.map(drop)
//! # }).unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod blocking;
mod caught;
mod config;
mod construct;
mod discovery;
mod explained;
mod installation;
mod manager;
pub mod monitor;
mod open;
pub mod pipeline;
pub mod scheduler;
#[cfg(test)]
#[path = "../../../tests/support/skipped.rs"]
mod skipped;
#[cfg(test)]
#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;
mod sources;
mod turns;

pub use bivium_exchange::{self as exchange, Exchange};
pub use bivium_interface::{
    Blob, Call, CallHandle, CallId, CancellationToken, CircuitState, ErrorCode, FailedStep, Failure, FileBackedDto,
    Granted, HostPolicy, InstanceStats, LastCrash, Layer, LogLevel, LogRecord, LogSource, Manifest, MethodInfo,
    Payload, PayloadStream, PluginError, PluginInterface, Problem, Progress, Result, Stats, TypedStream, Wrapper,
    async_trait, escape, lossy, manifest, media_type_of_path, policy, suffix_of_media_type, unescape,
};
pub use bivium_records::{AuditFile, AuditRecord, AuditSink, Decision, KeptLog, LogFiles, LogFilter};
#[cfg(feature = "wasm")]
pub use bivium_wasm::{
    CacheUsage, Compilation, Compiler, Resolver, SystemResolver, WasmConfig, check_component, compiler_main,
};
#[cfg(feature = "python")]
pub use bivium_worker::{
    ConfinementSupport, KeptCache, KeptEnvironment, Outline, PythonManifest, environments_for, kept_caches,
    kept_environments, outline, remove_cache, remove_environment,
};
pub use discovery::{Discovery, FileKind, SearchPath, Shadowed, default_search_paths, discover};
pub use installation::Installation;
pub use manager::{
    Freed, Held, Import, ImportPermission, Inspection, LoadReport, ManagerBuilder, PluginInfo, PluginManager,
    RunningCall, UnloadReport, default_data_dir,
};
pub use open::{Source, open};
