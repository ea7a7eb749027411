//! Bivium: a plugin host with two roads. Light and untrusted plugins are WebAssembly components in a
//! deny-by-default sandbox; heavy ones are Python classes in worker processes, each in its own environment. Both
//! hide behind [`PluginInterface`], and large data passes between them as files.

pub mod blocking;
mod config;
mod construct;
mod discovery;
mod manager;
pub mod monitor;
pub mod pipeline;
pub mod scheduler;

pub use bivium_exchange::Exchange;
pub use bivium_interface::{
    Blob, Call, CallHandle, CallId, CancellationToken, ErrorCode, Failure, FileBackedDto, InstanceStats, LogLevel,
    LogRecord, LogSource, Manifest, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Problem,
    Progress, Result, Stats, async_trait, escape, manifest, media_type_of_path, suffix_of_media_type, unescape,
};
pub use bivium_wasm::WasmConfig;
pub use construct::open;
pub use discovery::{Discovery, default_search_paths, discover, read_plugin};
pub use manager::{LoadReport, ManagerBuilder, PluginInfo, PluginManager, RunningCall, default_data_dir};
