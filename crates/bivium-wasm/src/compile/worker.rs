//! The compiler's own side, in a child process: it takes its limits upon itself before it sees the component, compiles
//! it, writes the code to its standard output and ends.

use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use bivium_interface::{ErrorCode, PluginError, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use super::count;
use super::digest::Digest;
use crate::{refusal, settings};

/// The exit status that says that standard error holds an error as JSON.
pub(super) const REFUSED: u8 = 3;
/// The code of the error that says that there is no room for what was compiled: no other has it.
pub(super) const NOT_WRITTEN: ErrorCode = ErrorCode::Unavailable;
/// No order is longer.
const ORDER_BYTES: u64 = 4096;
/// Address space beyond memory in use: the program, its libraries, stacks, the allocator's arenas.
const ADDRESSES: u64 = 2 << 30;

/// What a child is told: one line of JSON on its standard input, with the component behind it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) component_bytes: u64,
    /// For which engine: see [`compatibility`].
    pub(super) compatibility: Digest,
    pub(super) memory_bytes: u64,
    pub(super) cpu_s: u64,
    pub(super) file_bytes: u64,
}

impl Order {
    pub(super) fn to_line(&self) -> Vec<u8> {
        // Numbers and digits alone: this does not fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Stands for the version and settings of an engine, as far as they are in the code.
pub(super) fn compatibility(engine: &Engine) -> Digest {
    Digest::of_hashed(&[], &engine.precompile_compatibility_hash())
}

/// Compiles one component that the host sends on standard input. A program that is named by
/// [`Compiler::Child`](crate::Compiler::Child) ends in this when it is run with the arguments named there, before it
/// has started threads or opened files.
#[must_use]
pub fn compiler_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = serde_json::to_writer(io::stderr(), &error);
            ExitCode::from(REFUSED)
        }
    }
}

fn run() -> Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let order = (&mut input).take(ORDER_BYTES).read_until(b'\n', &mut line);
    let order: Order = order
        .and_then(|_| Ok(serde_json::from_slice(&line)?))
        .map_err(|error| PluginError::protocol(format!("this is for hosts that compile a component: {error}")))?;
    confine(&order).map_err(|error| PluginError::internal(format!("cannot limit the compiler: {error}")))?;
    let mut component = Vec::new();
    let read = (&mut input).take(order.component_bytes).read_to_end(&mut component);
    if read.is_ok_and(|read| read as u64 != order.component_bytes) {
        return Err(PluginError::protocol("the host has not sent the whole component"));
    }
    drop(input);
    end_with_the_host()?;

    let engine = engine_for(&order)?;
    count::check(&component)?;
    let code = engine.precompile_component(&component).map_err(|error| refusal::malformed(&error))?;
    let written = io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|mut out| out.write_all(&code));
    written.map_err(|error| PluginError::new(NOT_WRITTEN, format!("cannot write the compiled component: {error}")))
}

/// The engine that the order is for.
fn engine_for(order: &Order) -> Result<Engine> {
    for engine in settings::to_compile() {
        let engine = engine?;
        if compatibility(&engine) == order.compatibility {
            return Ok(engine);
        }
    }
    Err(PluginError::internal("the compiler is of another build than the host, or was built with other settings")
        .with_help("name a program of the same build as `Compiler::Child`"))
}

/// Limits that the kernel holds, and no way to more rights.
fn confine(order: &Order) -> io::Result<()> {
    let limit = |resource, most: u64| {
        // One that is tighter already stays.
        let most = getrlimit(resource).maximum.map_or(most, |given| given.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    // Too small for a file, and unlike 0 also for a program that the kernel would hand it to (`core_pattern` with `|`).
    limit(Resource::Core, 1)?;
    limit(Resource::Cpu, order.cpu_s)?;
    limit(Resource::Fsize, order.file_bytes)?;
    limit(Resource::Data, order.memory_bytes)?;
    limit(Resource::As, order.memory_bytes.saturating_add(ADDRESSES))?;
    #[cfg(target_os = "linux")]
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Ends this process when the host has closed the pipe, or is gone.
fn end_with_the_host() -> Result<()> {
    let watch = || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(read) if read > 0) {}
        std::process::exit(1);
    };
    let spawned = std::thread::Builder::new().name("host-watch".to_owned()).spawn(watch);
    spawned.map(drop).map_err(|error| PluginError::internal(format!("cannot watch the host: {error}")))
}
