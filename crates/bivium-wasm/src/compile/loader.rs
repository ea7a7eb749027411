//! [`Loader`]: takes components from the cache, or compiles them.

use std::path::Path;
use std::sync::Arc;

use bivium_interface::{LogLevel, LogSource, PluginError, Result};
use bivium_records::PluginLog;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::build::{self, blocking};
use super::cache::Cache;
use super::compiler::{CacheUsage, Compiler};
use super::digest::Digest;
use super::find::{self, Compiled, Found};
use super::request::{CompileLimits, ComponentRequest};
use super::source::{Binary, at};
use super::strip;

/// How many components one engine compiles at the same time. Each compilation uses several threads.
const AT_ONCE: usize = 2;

/// Smaller components are compiled in a moment, so the log does not mention them.
const WORTH_SAYING: usize = 300_000;

/// Takes components from the cache, or compiles them.
#[derive(Clone)]
pub(crate) struct Loader {
    cache: Option<Arc<Cache>>,
    compiler: Compiler,
    slots: Arc<Semaphore>,
}

impl Loader {
    /// If the cache cannot be used, components are compiled at each load, and a warning says so.
    pub(crate) fn new(cache: Option<(&Path, u64)>, compiler: Compiler) -> Self {
        let cache = cache.and_then(|(path, limit)| match Cache::open(path, limit) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "the cache of compiled components cannot be used, so each load compiles again: make it writable, or name another cache directory"
                );
                None
            }
        });
        Self { cache, compiler, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The content of the cache.
    pub(crate) fn usage(&self) -> Option<CacheUsage> {
        let cache = self.cache.as_ref()?;
        let (entries, bytes) = cache.usage().unwrap_or_default();
        Some(CacheUsage { directory: cache.path().to_owned(), entries, bytes })
    }

    /// Empties the cache, and returns what it held.
    pub(crate) fn clear(&self) -> Result<Option<CacheUsage>> {
        let Some(cache) = &self.cache else { return Ok(None) };
        let directory = cache.path().to_owned();
        let (entries, bytes) = cache.clear().map_err(|error| {
            let message = format!("cannot empty the cache {}: {error}", directory.display());
            match error.kind() {
                std::io::ErrorKind::ResourceBusy => {
                    PluginError::unavailable(message).with_help("try again when that has ended")
                }
                std::io::ErrorKind::PermissionDenied => PluginError::denied(message),
                _ => PluginError::internal(message),
            }
        })?;
        Ok(Some(CacheUsage { directory, entries, bytes }))
    }

    /// Gets the component. Dropping the future stops the compiler if it can be stopped.
    pub(crate) async fn component(&self, engine: &Engine, request: ComponentRequest) -> Result<Compiled> {
        let (loader, engine, limits, path) = (self.clone(), engine.clone(), request.limits, request.path.clone());
        let (log, in_file) = (request.log.clone(), |error: PluginError| at(&path, error));
        let work = {
            let engine = engine.clone();
            move || find::open(loader.cache.as_ref(), &engine, &request)
        };
        let binary = match blocking(work).await? {
            Found::Compiled(compiled) => return Ok(compiled),
            Found::Binary(binary) => binary,
        };
        self.compiled(engine, binary, &limits, log).await.map_err(in_file)
    }

    /// A component with the same types, for describing it: the component itself if it is in the cache, else a copy without code, which
    /// needs no time to compile and is not stored.
    pub(crate) async fn types(&self, engine: &Engine, request: ComponentRequest) -> Result<Component> {
        let (loader, own, limits, path) = (self.clone(), engine.clone(), request.limits, request.path.clone());
        let look = move || match find::open(loader.cache.as_ref(), &own, &request)? {
            Found::Binary(Binary { bytes, .. }) => {
                let bytes = strip::code(&bytes).unwrap_or(bytes);
                Ok(Found::Binary(Binary { digest: Digest::of(&bytes), bytes, stamp: None }))
            }
            found => Ok(found),
        };
        match blocking(look).await? {
            Found::Compiled(compiled) => Ok(compiled.component),
            Found::Binary(binary) => {
                let loader = Self { cache: None, ..self.clone() };
                let compiled = loader.compiled(engine.clone(), binary, &limits, None).await;
                compiled.map(|compiled| compiled.component).map_err(|error| at(&path, error))
            }
        }
    }

    async fn compiled(
        &self,
        engine: Engine,
        binary: Binary,
        limits: &CompileLimits,
        log: Option<PluginLog>,
    ) -> Result<Compiled> {
        let binary = Arc::new(binary);
        let slot = self.slot(limits).await?;
        // Another load may have compiled it while this one waited.
        let work = {
            let (loader, engine, digest) = (self.clone(), engine.clone(), binary.digest);
            move || Ok(find::cached(loader.cache.as_ref(), &engine, digest))
        };
        if let Some(compiled) = blocking(work).await? {
            return Ok(compiled);
        }
        if let Some(log) = log.filter(|_| binary.bytes.len() >= WORTH_SAYING) {
            let message = format!("compiling {} of WebAssembly", size(binary.bytes.len()));
            log.push(LogLevel::Info, LogSource::Host, 0, None, &message);
        }
        match &self.compiler {
            Compiler::InProcess => self.compile_here(&engine, binary, limits, slot).await,
            Compiler::Child { program, args } => {
                let compiled = build::in_child(self.cache.as_ref(), &engine, program, args, binary, limits).await;
                drop(slot);
                compiled
            }
        }
    }

    async fn slot(&self, limits: &CompileLimits) -> Result<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        match timeout(limits.time, slot).await {
            Ok(slot) => slot.map_err(|_| PluginError::internal("the compiler is gone")),
            Err(_) => Err(PluginError::timeout(format!(
                "it waited {} s, its limit of compilation, for a free compiler slot",
                limits.time.as_secs()
            ))
            .with_help("load it again, or raise `limits.compile_s` in its manifest")),
        }
    }

    async fn compile_here(
        &self,
        engine: &Engine,
        binary: Arc<Binary>,
        limits: &CompileLimits,
        slot: OwnedSemaphorePermit,
    ) -> Result<Compiled> {
        let (loader, engine) = (self.clone(), engine.clone());
        let work = blocking(move || {
            // Held until the thread has ended, even if nobody waits for it any more.
            let _slot = slot;
            build::here(loader.cache.as_ref(), &engine, &binary)
        });
        timeout(limits.time, work).await.map_err(|_| limits.too_slow())?
    }
}

/// A size in words for people.
fn size(bytes: usize) -> String {
    match bytes {
        0..=999_999 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests;
