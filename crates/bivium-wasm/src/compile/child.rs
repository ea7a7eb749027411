//! Runs the compiler in a child process: its input, its limits, and the meaning of its exit.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use bivium_interface::{PluginError, Result, clip};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use wasmtime::Engine;

use super::cache::{Cache, CacheKey, Draft};
use super::request::CompileLimits;
use super::worker::{NOT_WRITTEN, Order, REFUSED, compatibility};

/// The most threads of one child, which compile a component's functions in parallel.
const THREADS: usize = 4;
/// The most bytes of the child's error output that are read.
const ERROR_BYTES: u64 = 16 << 10;
/// The most bytes of code for each byte of WebAssembly (measured: 2 to 4), and the limit for small components.
const CODE_FACTOR: u64 = 32;
const LEAST_CODE: u64 = 64 << 20;

/// Where a child writes: a new entry of the cache, or a file without a name.
pub(super) enum Destination {
    Entry(Draft, Arc<Cache>),
    Unnamed(File),
}

impl Destination {
    pub(super) fn new(cache: Option<&Arc<Cache>>) -> Result<Self> {
        if let Some(cache) = cache {
            match cache.draft() {
                Ok(draft) => return Ok(Self::Entry(draft, Arc::clone(cache))),
                Err(error) => cache.warn_not_stored(&error),
            }
        }
        let file = tempfile::tempfile().or_else(|_| in_memory());
        file.map(Self::Unnamed)
            .map_err(|error| PluginError::internal(format!("cannot make a file for the compiled component: {error}")))
    }

    /// Another destination, if the compiler could not write to this one. It is in memory, since another disk may be full too.
    pub(super) fn in_memory_instead(&self, error: &PluginError) -> Option<Result<Self>> {
        if error.code() != NOT_WRITTEN {
            return None;
        }
        if let Self::Entry(_, cache) = self {
            cache.warn_not_stored(&std::io::Error::other(error.message()));
        }
        let no_room = |second| PluginError::resource_exhausted(format!("{}, nor in memory: {second}", error.message()));
        Some(in_memory().map(Self::Unnamed).map_err(no_room))
    }

    pub(super) fn file(&self) -> Result<File> {
        let file = match self {
            Self::Entry(draft, _) => draft.code(),
            Self::Unnamed(file) => file,
        };
        file.try_clone().map_err(|error| PluginError::internal(format!("cannot pass a file to the compiler: {error}")))
    }

    /// Installs the code in the cache, if this is an entry of it.
    pub(super) fn install(self, key: CacheKey) {
        if let Self::Entry(draft, cache) = self
            && let Err(error) = draft.install(key)
        {
            cache.warn_not_stored(&error);
        }
    }
}

#[cfg(target_os = "linux")]
fn in_memory() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("bivium-component", rustix::fs::MemfdFlags::CLOEXEC)?))
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> std::io::Result<File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Compiles `component` into `output`. The child is killed when its time is over, and when this future is dropped.
pub(super) async fn compile(
    engine: &Engine,
    program: &Path,
    args: &[OsString],
    component: &[u8],
    output: File,
    limits: &CompileLimits,
) -> Result<()> {
    let failed = |error: std::io::Error| {
        PluginError::internal(format!("cannot run the compiler {}: {error}", program.display()))
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.to_string())
        .env("MALLOC_ARENA_MAX", threads.to_string())
        .current_dir("/")
        // In its own process group, so that signals from the terminal only reach the host.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let order = Order {
        component_bytes: component.len() as u64,
        compatibility: compatibility(engine),
        memory_bytes: limits.memory_bytes,
        // For all its threads together. If the host is killed meanwhile, this limit stops the child.
        cpu_s: (limits.time.as_secs() + 1).saturating_mul(threads as u64),
        file_bytes: (component.len() as u64).saturating_mul(CODE_FACTOR).max(LEAST_CODE),
    };
    let (mut input, errors) = (child.stdin.take(), child.stderr.take());
    let work = async {
        let feed = async {
            // An error means that the child has ended. The pipe stays open, since closing it tells the child to end.
            if let Some(input) = &mut input {
                let _ = input.write_all(&order.to_line()).await;
                let _ = input.write_all(component).await;
            }
        };
        let ((), stderr, status) = tokio::join!(feed, read_errors(errors), child.wait());
        status.map(|status| (status, stderr))
    };
    let ended = timeout(limits.time, work).await;
    let Ok(ended) = ended else {
        // Waits for its end, so that it no longer writes when the file is removed.
        let _ = child.kill().await;
        return Err(limits.too_slow());
    };
    let (status, stderr) = ended.map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::CHILD.raw_os_error() => {
            PluginError::internal("the host cannot learn how the compiler ended, since it ignores SIGCHLD")
                .with_help("let the host handle SIGCHLD, or compile in its own process (`Compiler::InProcess`)")
        }
        _ => failed(error),
    })?;
    outcome(status, &stderr, limits)
}

/// The beginning of the child's error output. The rest is read and discarded, so that the child can end.
async fn read_errors(errors: Option<impl AsyncRead + Unpin>) -> String {
    let mut stderr = Vec::new();
    if let Some(mut errors) = errors {
        let _ = (&mut errors).take(ERROR_BYTES).read_to_end(&mut stderr).await;
        let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&stderr).into_owned()
}

fn outcome(status: ExitStatus, stderr: &str, limits: &CompileLimits) -> Result<()> {
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(i32::from(REFUSED)) {
        return Err(serde_json::from_str(stderr).unwrap_or_else(|_| crashed(status, stderr)));
    }
    // The messages of Rust's allocator before it aborts, and of the system.
    let no_memory = ["memory allocation of", "Cannot allocate memory", "os error 12"];
    if no_memory.iter().any(|said| stderr.contains(said)) {
        return Err(out_of_memory(limits));
    }
    Err(match status.signal() {
        Some(SIGXCPU) => limits.too_slow(),
        // The host did not send it: the kernel does so when memory runs out.
        Some(SIGKILL) => out_of_memory(limits),
        Some(SIGXFSZ) if getrlimit(Resource::Fsize).current.is_some() => {
            PluginError::resource_exhausted("the compiled component is larger than this machine's limit of file size")
                .with_help("raise the limit of file size (`ulimit -f`)")
        }
        Some(SIGXFSZ) => PluginError::resource_exhausted("the component's compiled code is far larger than usual")
            .with_help("compile components that you trust with `Compiler::InProcess`"),
        _ if stderr.contains("has overflowed its stack") => {
            PluginError::resource_exhausted("compiling the component needs more stack than the compiler has")
        }
        _ => crashed(status, stderr),
    })
}

fn out_of_memory(limits: &CompileLimits) -> PluginError {
    PluginError::resource_exhausted(format!(
        "compiling the component needs more memory than its limit of {} MiB",
        limits.memory_bytes >> 20
    ))
    .with_help("raise the host's `WasmConfig::compile_memory_bytes`")
}

fn crashed(status: ExitStatus, stderr: &str) -> PluginError {
    let stderr = clip(stderr.trim().escape_debug().to_string(), 500);
    PluginError::internal(format!("the compiler ended with {status}: {stderr}"))
        .with_help("if the component is valid, report this as a bug of Bivium")
}
