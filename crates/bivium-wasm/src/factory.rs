//! [`ComponentFactory`]: a component, read, checked and compiled once, from which instances are made.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bivium_exchange::Exchange;
use bivium_instances::{InstanceFactory, PluginContext, PluginLog, PoolLimits};
use bivium_interface::{Manifest, PluginError, Result, manifest};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use wasmtime::Store;
use wasmtime::component::Component;

use crate::bounds::Bounds;
use crate::engine::{TICKS_TO_YIELD, WasmEngine};
use crate::instance::ComponentInstance;
use crate::limits::{Limiter, MemoryGauge, StoreLimits};
use crate::log::GuestLog;
use crate::state::HostState;
use crate::world::GuestPre;
use crate::{refusal, trap};

/// Makes the instances of one component.
pub struct ComponentFactory {
    name: String,
    version: String,
    limits: StoreLimits,
    pool: PoolLimits,
    engine: WasmEngine,
    guest: Box<dyn GuestPre>,
    exchange: Exchange,
    context: PluginContext,
    instances: AtomicU64,
    /// The plugin's answer, asked for once: it is the same for every instance.
    schema: Arc<OnceLock<Value>>,
}

impl ComponentFactory {
    /// Reads the component that the manifest names, checks it and compiles it, on a blocking thread.
    ///
    /// # Errors
    /// `not-found` or `denied` if the file cannot be read, `resource-exhausted` if it is too large,
    /// `invalid-manifest` if it has another digest than the manifest says, is no component, is one of another world or
    /// version, or imports what the host does not have.
    pub async fn load(
        engine: &WasmEngine,
        manifest: &Manifest,
        exchange: &Exchange,
        context: PluginContext,
    ) -> Result<Self> {
        let named = |error: PluginError| error.with_plugin(&manifest.name);
        let path = manifest.component.clone().ok_or_else(|| {
            named(PluginError::invalid_manifest("the manifest names no component").with_help("add `component`"))
        })?;
        let compile = {
            let (engine, sha256) = (engine.clone(), manifest.sha256.clone());
            move || compile(&engine, &path, sha256.as_deref())
        };
        let compiled = tokio::task::spawn_blocking(compile)
            .await
            .map_err(|error| PluginError::internal(format!("the compilation of the component did not end: {error}")));
        let guest = compiled.and_then(|compiled| compiled).map_err(named)?;
        Ok(Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            limits: StoreLimits::new(&context.granted.limits),
            pool: PoolLimits {
                instances: manifest.instances.max,
                calls_per_instance: 1,
                single_use: manifest.isolation == manifest::Isolation::Call,
            },
            engine: engine.clone(),
            guest,
            exchange: exchange.clone(),
            context,
            instances: AtomicU64::new(0),
            schema: Arc::default(),
        })
    }

    /// The plugin's log.
    #[must_use]
    pub fn log(&self) -> &PluginLog {
        &self.context.log
    }
}

#[async_trait]
impl InstanceFactory for ComponentFactory {
    type Instance = ComponentInstance;

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn limits(&self) -> PoolLimits {
        self.pool
    }

    async fn create(&self) -> Result<ComponentInstance> {
        let id = self.instances.fetch_add(1, Ordering::Relaxed) + 1;
        let memory = MemoryGauge::default();
        let limiter = Limiter::new(self.limits, Arc::clone(&memory));
        let log = Arc::new(GuestLog::new(self.context.log.clone(), id, self.limits.log_records));
        let state = HostState::new(self.limits, limiter, log, self.exchange.clone());
        let mut store = Store::new(self.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_async_yield_and_update(TICKS_TO_YIELD);
        store.set_epoch_deadline(TICKS_TO_YIELD);

        let closing = CancellationToken::new();
        let mut bounds = Bounds::of_control(self.limits.call_ms, &closing);
        let guest = bounds
            .drive(self.guest.instantiate(&mut store))
            .await?
            .map_err(|error| trap::explain(&error, store.data()))?
            .map_err(|error| refusal::wrong_type(&error))?;
        let schema = Arc::clone(&self.schema);
        Ok(ComponentInstance::new(id, store, guest, self.limits.call_ms, memory, closing, schema))
    }
}

fn compile(engine: &WasmEngine, path: &Path, sha256: Option<&str>) -> Result<Box<dyn GuestPre>> {
    let bytes = read(path, engine.config().component_bytes())?;
    let in_file = |error: PluginError| at(path, error);
    if let Some(expected) = sha256 {
        check_digest(&bytes, expected).map_err(in_file)?;
    }
    refusal::check_header(&bytes).map_err(in_file)?;
    let component =
        Component::from_binary(engine.wasmtime(), &bytes).map_err(|error| in_file(refusal::malformed(&error)))?;
    let world = refusal::find_world(&component, engine.wasmtime()).map_err(in_file)?;
    let linked = engine.linker().instantiate_pre(&component);
    let linked = linked.map_err(|error| in_file(refusal::missing_import(&error)))?;
    (world.guest)(linked).map_err(|error| in_file(refusal::missing_export(&error)))
}

/// Puts the file's path before the message.
fn at(path: &Path, error: PluginError) -> PluginError {
    let located = PluginError::new(error.code(), format!("{}: {}", path.display(), error.message()));
    match error.help() {
        Some(help) => located.with_help(help),
        None => located,
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot read the component {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                PluginError::not_found(message).with_help("build it, or mend `component` in the manifest")
            }
            std::io::ErrorKind::PermissionDenied => PluginError::denied(message),
            _ => PluginError::internal(message),
        }
    };
    // Before it is opened: opening a pipe would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(PluginError::invalid_manifest(format!("{} is not a regular file", path.display()))
            .with_help("name a component's `.wasm` file as `component`"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PluginError::resource_exhausted(format!(
            "the component {} is larger than {} MiB",
            path.display(),
            limit >> 20
        ))
        .with_help("raise `WasmConfig::max_component_bytes`"));
    }
    Ok(bytes)
}

fn check_digest(bytes: &[u8], expected: &str) -> Result<()> {
    let mut found = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(found, "{byte:02x}");
    }
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(PluginError::invalid_manifest(format!("the file has SHA-256 {found}, not the one in the manifest"))
        .with_help("put back the file that the manifest was written for, or, if the change is meant, mend `sha256`"))
}
