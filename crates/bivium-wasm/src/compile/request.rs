//! [`Request`]: a component that is wanted, and what compiling it may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bivium_interface::manifest::{Component, WasmPlugin};
use bivium_interface::{HostPolicy, PluginError, manifest};
use bivium_records::PluginLog;

/// What compiling one component may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompileLimits {
    pub(crate) component_bytes: u64,
    pub(crate) time: Duration,
    pub(crate) memory_bytes: u64,
}

impl CompileLimits {
    fn new(granted: &manifest::Limits, memory_bytes: u64) -> Self {
        let limits = granted.clone().or(&HostPolicy::DEFAULTS);
        Self {
            component_bytes: limits.component_mb.unwrap_or_default().saturating_mul(1 << 20),
            time: Duration::from_secs(limits.compile_s.unwrap_or_default()),
            memory_bytes,
        }
    }

    /// It was not compiled in its time.
    pub(super) fn too_slow(&self) -> PluginError {
        let seconds = self.time.as_secs_f64();
        PluginError::timeout(format!("compilation exceeded its limit of {seconds} s"))
            .with_help("raise `limits.compile_s` in its manifest")
    }
}

/// A component that is wanted.
#[derive(Clone)]
pub(crate) struct Request {
    /// Its file; its name where it is in memory.
    pub(crate) path: PathBuf,
    /// Its bytes, if it lies in no file.
    pub(crate) bytes: Option<Arc<[u8]>>,
    /// What the manifest says that the file's SHA-256 is.
    pub(crate) sha256: Option<String>,
    pub(crate) limits: CompileLimits,
    /// Where it is said that compiling begins, if it takes longer than a moment.
    pub(crate) log: Option<PluginLog>,
}

impl Request {
    /// The component of the plugin of this name, within the limits that it was granted. Compiling it may take so much memory, in bytes.
    pub(crate) fn of(name: &str, plugin: &WasmPlugin, granted: &manifest::Limits, memory_bytes: u64) -> Self {
        let (path, bytes) = match &plugin.component {
            Component::File(file) => (file.clone(), None),
            Component::Bytes(bytes) => (PathBuf::from(name), Some(Arc::clone(bytes))),
        };
        let limits = CompileLimits::new(granted, memory_bytes);
        Self { path, bytes, sha256: plugin.sha256.clone(), limits, log: None }
    }

    /// Says in the plugin's log that compiling begins.
    pub(crate) fn told(self, log: &PluginLog) -> Self {
        Self { log: Some(log.clone()), ..self }
    }
}
