//! From a component's file to code that the engine runs: out of the cache if it was compiled before, else compiled
//! within limits and put there.
//!
//! Components are strangers'. Compiling one may take more time and memory than anybody has, so it is done in a child
//! process that can be stopped where the host has a program for it ([`Compiler::Child`]), and else on a thread that
//! nobody waits for longer than the limit. Reading and checking the cache happens on blocking threads.

mod cache;
mod census;
mod child;
mod code;
mod digest;
mod look;
mod skeleton;
mod source;
mod stamp;
mod worker;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bivium_instances::PluginLog;
use bivium_interface::{HostPolicy, LogLevel, LogSource, Manifest, PluginError, Result, manifest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{ceilings, refusal};

use cache::{Cache, Key};
use code::Code;
use digest::Digest;
use source::{Binary, Source};

pub use look::check_component;
pub use worker::compiler_main;

/// Components that one engine compiles at the same time. Each compilation uses several threads.
const AT_ONCE: usize = 2;

/// Components of fewer bytes are compiled in a moment, of which nothing is said.
const WORTH_SAYING: usize = 300_000;

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Compiler {
    /// On a thread of this process. It cannot be stopped: one that takes longer than its limit is left behind, and
    /// goes on until it ends by itself. What memory it takes is not limited.
    #[default]
    InProcess,
    /// In a child process with limits of its own, which is killed when its time is up or nobody waits any more.
    Child {
        /// The absolute path of a program that ends in [`compiler_main`] when it is run with `args`. It must be of the
        /// same build as the host.
        program: PathBuf,
        /// What makes it do that.
        args: Vec<OsString>,
    },
}

impl Compiler {
    /// This very program, run with these arguments, as a child.
    ///
    /// # Errors
    /// `internal` if the system does not tell where it is.
    pub fn this_program(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self> {
        // On Linux by its handle: the file may have been replaced by a newer version meanwhile.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() {
            own.to_owned()
        } else {
            std::env::current_exe()
                .map_err(|error| PluginError::internal(format!("cannot find this program's file: {error}")))?
        };
        Ok(Self::Child { program, args: args.into_iter().map(Into::into).collect() })
    }
}

/// What compiling a component ahead came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compilation {
    /// Whether it lay in the cache already.
    pub was_cached: bool,
    /// The size of the compiled component.
    pub bytes: u64,
    /// The directory where it lies now; none if this host keeps nothing.
    pub cache: Option<PathBuf>,
}

/// What a cache of compiled components holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheUsage {
    /// Its directory.
    pub directory: PathBuf,
    /// Compiled components in it.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
}

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
    /// The component that a manifest names, within the limits that it was granted. Compiling it may take so much memory, in bytes.
    pub(crate) fn of(manifest: &Manifest, granted: &manifest::Limits, memory_bytes: u64) -> Result<Self> {
        let bytes = manifest.component_bytes.clone();
        let in_memory = bytes.is_some().then(|| PathBuf::from(&manifest.name));
        let path = in_memory.or_else(|| manifest.component.clone()).ok_or_else(|| {
            PluginError::invalid_manifest("the manifest names no component").with_help("add `component`")
        })?;
        Ok(Self {
            path,
            bytes,
            sha256: manifest.sha256.clone(),
            limits: CompileLimits::new(granted, memory_bytes),
            log: None,
        })
    }

    /// Says in the plugin's log that compiling begins.
    pub(crate) fn told(self, log: &PluginLog) -> Self {
        Self { log: Some(log.clone()), ..self }
    }
}

/// A component that can be run.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    /// Whether it was in the cache.
    pub(crate) was_cached: bool,
    /// The size of its code.
    pub(crate) bytes: u64,
}

/// Where compiled components come from.
#[derive(Clone)]
pub(crate) struct Workshop {
    cache: Option<Arc<Cache>>,
    compiler: Compiler,
    slots: Arc<Semaphore>,
}

impl Workshop {
    /// Where the cache cannot be used, components are compiled at each load, and a warning says so.
    pub(crate) fn new(cache: Option<(&Path, u64)>, compiler: Compiler) -> Self {
        let cache = cache.and_then(|(path, limit)| match Cache::open(path, limit) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "the cache of compiled components cannot be used, each load compiles anew"
                );
                None
            }
        });
        Self { cache, compiler, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What the cache holds.
    pub(crate) fn usage(&self) -> Option<CacheUsage> {
        let cache = self.cache.as_ref()?;
        let (entries, bytes) = cache.usage().unwrap_or_default();
        Some(CacheUsage { directory: cache.path().to_owned(), entries, bytes })
    }

    /// Empties the cache, and gives what it held.
    pub(crate) fn clear(&self) -> Result<Option<CacheUsage>> {
        let Some(cache) = &self.cache else { return Ok(None) };
        let directory = cache.path().to_owned();
        let (entries, bytes) = cache.clear().map_err(|error| {
            let message = format!("cannot empty the cache {}: {error}", directory.display());
            match error.kind() {
                std::io::ErrorKind::ResourceBusy => {
                    PluginError::unavailable(message).with_help("try again when it has ended")
                }
                std::io::ErrorKind::PermissionDenied => PluginError::denied(message),
                _ => PluginError::internal(message),
            }
        })?;
        Ok(Some(CacheUsage { directory, entries, bytes }))
    }

    /// Gets the component. A future that is dropped stops what it can.
    pub(crate) async fn component(&self, engine: &Engine, request: Request) -> Result<Compiled> {
        let (workshop, engine, limits, path) = (self.clone(), engine.clone(), request.limits, request.path.clone());
        let (log, in_file) = (request.log.clone(), |error: PluginError| at(&path, error));
        let work = {
            let engine = engine.clone();
            move || workshop.look(&engine, &request)
        };
        let binary = match blocking(work).await? {
            Found::Compiled(compiled) => return Ok(compiled),
            Found::Binary(binary) => binary,
        };
        self.compiled(engine, binary, &limits, log).await.map_err(in_file)
    }

    /// Gets what stands for the component as long as only its types are asked for: itself if it is in the cache, else what
    /// is left of it without its code, which takes no time to compile and is kept nowhere.
    pub(crate) async fn types(&self, engine: &Engine, request: Request) -> Result<Component> {
        let (workshop, own, limits, path) = (self.clone(), engine.clone(), request.limits, request.path.clone());
        let look = move || match workshop.look(&own, &request)? {
            Found::Binary(Binary { bytes, .. }) => {
                let bytes = skeleton::of(&bytes).unwrap_or(bytes);
                Ok(Found::Binary(Binary { digest: Digest::of(&bytes), bytes, stamp: None }))
            }
            found => Ok(found),
        };
        match blocking(look).await? {
            Found::Compiled(compiled) => Ok(compiled.component),
            Found::Binary(binary) => {
                let workshop = Self { cache: None, ..self.clone() };
                let compiled = workshop.compiled(engine.clone(), binary, &limits, None).await;
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
            let (workshop, engine, digest) = (self.clone(), engine.clone(), binary.digest);
            move || Ok(workshop.cached(&engine, digest))
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
                let compiled = self.compile_in_child(&engine, program, args, binary, limits).await;
                drop(slot);
                compiled
            }
        }
    }

    /// Opens the component, and looks for it in the cache. It is read only if it must be.
    fn look(&self, engine: &Engine, request: &Request) -> Result<Found> {
        let in_file = |error| at(&request.path, error);
        let expected = request.sha256.as_deref();
        if let Some(bytes) = &request.bytes {
            let binary = Binary::in_memory(bytes, &request.path, request.limits.component_bytes)?;
            return self.checked(engine, binary, expected).map_err(in_file);
        }
        let source = Source::open(&request.path, request.limits.component_bytes)?;
        let known = self.cache.as_ref().and_then(|cache| cache.remembered(source.stamp()));
        if let Some(digest) = known {
            check_digest(digest, expected).map_err(in_file)?;
            if let Some(compiled) = self.cached(engine, digest) {
                return Ok(Found::Compiled(compiled));
            }
        }
        self.checked(engine, source.read()?, expected).map_err(in_file)
    }

    /// Looks for a component that was read in the cache.
    fn checked(&self, engine: &Engine, binary: Binary, expected: Option<&str>) -> Result<Found> {
        check_digest(binary.digest, expected)?;
        refusal::check_header(&binary.bytes)?;
        if let (Some(cache), Some(stamp)) = (&self.cache, &binary.stamp) {
            cache.remember(stamp, binary.digest);
        }
        Ok(match self.cached(engine, binary.digest) {
            Some(compiled) => Found::Compiled(compiled),
            None => Found::Binary(binary),
        })
    }

    fn cached(&self, engine: &Engine, digest: Digest) -> Option<Compiled> {
        let cache = self.cache.as_ref()?;
        let key = Key::new(engine, digest);
        let code = cache.find(key)?;
        match code.component(engine) {
            Ok(component) => Some(Compiled { component, was_cached: true, bytes: code.bytes() }),
            Err(error) => {
                // As it was made, and yet the engine does not take it: there is no room for it, most likely.
                tracing::warn!(%key, "cannot map a compiled component of the cache, it is compiled anew: {error:#}");
                None
            }
        }
    }

    async fn slot(&self, limits: &CompileLimits) -> Result<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        match timeout(limits.time, slot).await {
            Ok(slot) => slot.map_err(|_| PluginError::internal("the compiler is gone")),
            Err(_) => Err(PluginError::timeout(format!(
                "others were compiled for longer than its own limit of {} s",
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
        let (workshop, engine) = (self.clone(), engine.clone());
        let work = blocking(move || {
            // Held for as long as the thread computes, whether somebody waits for it or not.
            let _slot = slot;
            workshop.compile_on_thread(&engine, &binary)
        });
        timeout(limits.time, work).await.map_err(|_| too_slow(limits))?
    }

    fn compile_on_thread(&self, engine: &Engine, binary: &Binary) -> Result<Compiled> {
        census::check(&binary.bytes)?;
        let compiled = engine.precompile_component(&binary.bytes).map_err(|error| refusal::malformed(&error))?;
        if let Some(cache) = &self.cache {
            let key = Key::new(engine, binary.digest);
            let kept = cache.draft().and_then(|draft| {
                std::io::Write::write_all(&mut draft.code(), &compiled)?;
                draft.install(key)
            });
            match kept {
                Ok(()) => {
                    if let Some(found) = self.cached(engine, binary.digest) {
                        return Ok(Compiled { was_cached: false, ..found });
                    }
                }
                Err(error) => cache.cannot_keep(&error),
            }
        }
        let component = code::from_memory(engine, &compiled).map_err(|error| not_taken(&error))?;
        Ok(Compiled { component, was_cached: false, bytes: compiled.len() as u64 })
    }

    async fn compile_in_child(
        &self,
        engine: &Engine,
        program: &Path,
        args: &[OsString],
        binary: Arc<Binary>,
        limits: &CompileLimits,
    ) -> Result<Compiled> {
        let mut place = {
            let cache = self.cache.clone();
            blocking(move || child::Place::new(cache.as_ref())).await?
        };
        let compile = |output| child::compile(engine, program, args, &binary.bytes, output, limits);
        if let Err(error) = compile(place.file()?).await {
            let Some(elsewhere) = place.elsewhere(&error) else { return Err(error) };
            place = elsewhere?;
            compile(place.file()?).await?;
        }
        let engine = engine.clone();
        blocking(move || {
            let key = Key::new(&engine, binary.digest);
            // Mapped before it is put in place, so that nothing is kept that the engine does not take.
            let code = Code::trusted(place.file()?, None);
            let component = code.component(&engine).map_err(|error| not_taken(&error))?;
            place.keep(key);
            Ok(Compiled { component, was_cached: false, bytes: code.bytes() })
        })
        .await
    }
}

/// What a first look came to.
enum Found {
    Compiled(Compiled),
    Binary(Binary),
}

/// A size for people.
fn size(bytes: usize) -> String {
    match bytes {
        0..=999_999 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PluginError::internal(format!("the compilation of the component did not end: {error}")))?
}

/// Puts the file's path before the message.
pub(crate) fn at(path: &Path, error: PluginError) -> PluginError {
    let located = PluginError::new(error.code(), format!("{}: {}", path.display(), error.message()));
    match error.help() {
        Some(help) => located.with_help(help),
        None => located,
    }
}

fn check_digest(found: Digest, expected: Option<&str>) -> Result<()> {
    match expected {
        Some(expected) if Digest::parse(expected) != Some(found) => {
            let message = format!("the file has SHA-256 {found}, not the one in the manifest");
            Err(PluginError::invalid_manifest(message).with_help(
                "put back the file that the manifest was written for, or, if the change is meant, mend `sha256`",
            ))
        }
        _ => Ok(()),
    }
}

fn too_slow(limits: &CompileLimits) -> PluginError {
    PluginError::timeout(format!("the component is not compiled after its limit of {} s", limits.time.as_secs_f64()))
        .with_help("raise `limits.compile_s` in its manifest")
}

fn not_taken(error: &wasmtime::Error) -> PluginError {
    if let Some(unfit) = ceilings::unfit(error) {
        return unfit;
    }
    PluginError::internal(format!("the engine does not take the compiled component: {error:#}"))
}

#[cfg(test)]
mod tests;
