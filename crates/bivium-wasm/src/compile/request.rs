//! [`ComponentRequest`]: a component to load, and the limits of compiling it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bivium_interface::manifest::{Component, WasmPlugin};
use bivium_interface::{HostPolicy, PluginError, manifest};
use bivium_records::PluginLog;

/// The limits of compiling one component.
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

    /// The error if compiling took too long.
    pub(super) fn too_slow(&self) -> PluginError {
        let seconds = self.time.as_secs_f64();
        PluginError::timeout(format!("compilation exceeded its limit of {seconds} s"))
            .with_help("raise `limits.compile_s` in its manifest")
    }
}

/// A component to load.
#[derive(Clone)]
pub(crate) struct ComponentRequest {
    /// Its file, or the plugin's name if the component is in memory.
    pub(crate) path: PathBuf,
    /// Its bytes, if it is in memory.
    pub(crate) bytes: Option<Arc<[u8]>>,
    /// The SHA-256 that the manifest gives.
    pub(crate) sha256: Option<String>,
    pub(crate) limits: CompileLimits,
    /// The log that mentions the start of a longer compilation.
    pub(crate) log: Option<PluginLog>,
}

impl ComponentRequest {
    /// The component of the plugin of this name, with the limits that it was granted. `memory_bytes` limits the memory of the compiler.
    pub(crate) fn of(name: &str, plugin: &WasmPlugin, granted: &manifest::Limits, memory_bytes: u64) -> Self {
        let (path, bytes) = match &plugin.component {
            Component::File(file) => (file.clone(), None),
            Component::Bytes(bytes) => (PathBuf::from(name), Some(Arc::clone(bytes))),
        };
        let limits = CompileLimits::new(granted, memory_bytes);
        Self { path, bytes, sha256: plugin.sha256.clone(), limits, log: None }
    }

    /// Mentions the start of a longer compilation in this log.
    pub(crate) fn with_log(self, log: &PluginLog) -> Self {
        Self { log: Some(log.clone()), ..self }
    }
}
