//! Bivium: a plugin host with two runtimes. Light and untrusted plugins are WebAssembly components in a deny-by-default sandbox.
//! Plugins with heavy dependencies are Python classes in worker processes, each in its own environment. Both are called through
//! [`PluginInterface`], and large data is passed between them as files.
//!
//! [`PluginManager`] finds, loads, configures, schedules, runs, observes, reloads and unloads plugins. [`blocking`] does the same for
//! synchronous callers, [`pipeline`] runs several plugins one after another, and [`open`] starts one plugin without a manager.
//!
//! [`exchange`] holds large data, [`manifest`] has what plugins ask for, and [`policy`] has what they are granted.
//!
//! Structs that may get more fields are `#[non_exhaustive]`: make them with their constructors or from JSON. Their fields can be read
//! and set.
//!
//! The features `wasm` and `python` select the runtimes that are built; both are on by default. A plugin of a runtime that was not built
//! is `unavailable`.
//! The feature `cjm`, also on by default, runs plugins of cjm-plugin-system as they are (`bivium::cjm`).
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
mod catch_panic;
mod config;
mod construct;
mod data_dir;
mod discovery;
mod extensions;
mod manager;
pub mod monitor;
mod open;
pub mod pipeline;
mod policy_errors;
pub mod scheduler;
#[cfg(test)]
#[path = "../../../tests/support/skipped.rs"]
mod skipped;
#[cfg(test)]
#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;
mod sources;
mod turns;

#[cfg(feature = "cjm")]
pub use bivium_cjm as cjm;
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
    ConfinementSupport, KeptCache, KeptEnvironment, Outline, PythonManifest, environments_dir, environments_for,
    kept_caches, kept_environments, not_held, outline, remove_cache, remove_environment,
};
pub use data_dir::default_data_dir;
pub use discovery::{Discovery, FileKind, SearchPath, Shadowed, default_search_paths, discover};
pub use extensions::forms;
pub use manager::{
    Freed, Held, Import, ImportPermission, Inspection, LoadReport, ManagerBuilder, PluginInfo, PluginManager,
    RunningCall, UnloadReport,
};
pub use open::{Source, open};
