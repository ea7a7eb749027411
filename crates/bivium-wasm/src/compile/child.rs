//! The host's side of a compiler in a child process: what it is given, how it is held, and what its end means.

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

use super::cache::{Cache, Draft, Key};
use super::request::CompileLimits;
use super::worker::{NOT_WRITTEN, Order, REFUSED, compatibility};

/// Threads of one child: a component's functions are compiled side by side.
const THREADS: usize = 4;
/// What a child may say about its end.
const LAST_WORDS: u64 = 16 << 10;
/// How many bytes of code there may be for each byte of WebAssembly, and how many at least: measured, it is 2 to 4.
const CODE_FACTOR: u64 = 32;
const LEAST_CODE: u64 = 64 << 20;

/// Where a child writes: an entry of the cache that is being made, or a file without a name.
pub(super) enum Destination {
    Entry(Draft, Arc<Cache>),
    Unnamed(File),
}

impl Destination {
    pub(super) fn new(cache: Option<&Arc<Cache>>) -> Result<Self> {
        if let Some(cache) = cache {
            match cache.draft() {
                Ok(draft) => return Ok(Self::Entry(draft, Arc::clone(cache))),
                Err(error) => cache.cannot_keep(&error),
            }
        }
        let file = tempfile::tempfile().or_else(|_| in_memory());
        file.map(Self::Unnamed)
            .map_err(|error| PluginError::internal(format!("cannot make a file for the compiled component: {error}")))
    }

    /// Another place, if it was this one that the compiler could not write to: in memory, for the next disk may be as full.
    pub(super) fn elsewhere(&self, error: &PluginError) -> Option<Result<Self>> {
        if error.code() != NOT_WRITTEN {
            return None;
        }
        if let Self::Entry(_, cache) = self {
            cache.cannot_keep(&std::io::Error::other(error.message()));
        }
        let no_room =
            |second| PluginError::resource_exhausted(format!("{}, and not in memory: {second}", error.message()));
        Some(in_memory().map(Self::Unnamed).map_err(no_room))
    }

    pub(super) fn file(&self) -> Result<File> {
        let file = match self {
            Self::Entry(draft, _) => draft.code(),
            Self::Unnamed(file) => file,
        };
        file.try_clone().map_err(|error| PluginError::internal(format!("cannot hand a file on: {error}")))
    }

    /// Keeps what was written, if this is a place where it can be.
    pub(super) fn keep(self, key: Key) {
        if let Self::Entry(draft, cache) = self
            && let Err(error) = draft.install(key)
        {
            cache.cannot_keep(&error);
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

/// Compiles `component` into `output`. The child is killed when its time is up, and when this future is dropped.
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
        // Away from the terminal: what a key press means is for the host to say.
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
        // It computes on all its threads at once. A host that is killed meanwhile cannot stop it: this does.
        cpu_s: (limits.time.as_secs() + 1).saturating_mul(threads as u64),
        file_bytes: (component.len() as u64).saturating_mul(CODE_FACTOR).max(LEAST_CODE),
    };
    let (mut input, errors) = (child.stdin.take(), child.stderr.take());
    let work = async {
        let feed = async {
            // An error means that it has ended. The pipe stays open: closing it is the order to end.
            if let Some(input) = &mut input {
                let _ = input.write_all(&order.to_line()).await;
                let _ = input.write_all(component).await;
            }
        };
        let ((), words, status) = tokio::join!(feed, last_words(errors), child.wait());
        status.map(|status| (status, words))
    };
    let ended = timeout(limits.time, work).await;
    let Ok(ended) = ended else {
        // Waited for, so that it writes no more when the file goes.
        let _ = child.kill().await;
        return Err(limits.too_slow());
    };
    let (status, words) = ended.map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::CHILD.raw_os_error() => {
            PluginError::internal("nobody learns how the compiler ended, since this host ignores SIGCHLD")
                .with_help("let the host handle SIGCHLD, or compile in its own process (`Compiler::InProcess`)")
        }
        _ => failed(error),
    })?;
    verdict(status, &words, limits)
}

/// The beginning of what a child says; the rest is read and forgotten, so that it can end.
async fn last_words(errors: Option<impl AsyncRead + Unpin>) -> String {
    let mut words = Vec::new();
    if let Some(mut errors) = errors {
        let _ = (&mut errors).take(LAST_WORDS).read_to_end(&mut words).await;
        let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&words).into_owned()
}

fn verdict(status: ExitStatus, words: &str, limits: &CompileLimits) -> Result<()> {
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(i32::from(REFUSED)) {
        return Err(serde_json::from_str(words).unwrap_or_else(|_| crashed(status, words)));
    }
    // What the allocator of a Rust program says before it aborts, and what the system says otherwise.
    let no_memory = ["memory allocation of", "Cannot allocate memory", "os error 12"];
    if no_memory.iter().any(|said| words.contains(said)) {
        return Err(out_of_memory(limits));
    }
    Err(match status.signal() {
        Some(SIGXCPU) => limits.too_slow(),
        // Not by us: the kernel does that when memory runs short.
        Some(SIGKILL) => out_of_memory(limits),
        Some(SIGXFSZ) if getrlimit(Resource::Fsize).current.is_some() => {
            PluginError::resource_exhausted("the compiled component is larger than a file may be here")
                .with_help("raise the limit of file size (`ulimit -f`)")
        }
        Some(SIGXFSZ) => PluginError::resource_exhausted("the component's compiled code is far larger than is usual")
            .with_help("compile components that you trust with `Compiler::InProcess`"),
        _ if words.contains("has overflowed its stack") => {
            PluginError::resource_exhausted("compiling the component takes more stack than there is")
        }
        _ => crashed(status, words),
    })
}

fn out_of_memory(limits: &CompileLimits) -> PluginError {
    PluginError::resource_exhausted(format!(
        "compiling the component takes more memory than its limit of {} MiB",
        limits.memory_bytes >> 20
    ))
    .with_help("raise the host's `WasmConfig::compile_memory_bytes`")
}

fn crashed(status: ExitStatus, words: &str) -> PluginError {
    let words = clip(words.trim().escape_debug().to_string(), 500);
    PluginError::internal(format!("the compiler ended with {status}: {words}"))
        .with_help("if the component is not to blame, report this as a fault of Bivium")
}
