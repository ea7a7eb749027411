//! The compiler in the child process: it sets its own limits before it reads the component, compiles it, writes the code to standard
//! output and ends.

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

/// The exit status that means that standard error has an error as JSON.
pub(super) const REFUSED: u8 = 3;
/// The error code that means that the code could not be written. No other error has it.
pub(super) const NOT_WRITTEN: ErrorCode = ErrorCode::Unavailable;
/// The longest order.
const ORDER_BYTES: u64 = 4096;
/// Address space in addition to the memory limit: the program, its libraries, stacks, the allocator's arenas.
const ADDRESSES: u64 = 2 << 30;

/// The order for a child: one line of JSON on its standard input, with the component after it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) component_bytes: u64,
    /// The engine's [`compatibility`].
    pub(super) compatibility: Digest,
    pub(super) memory_bytes: u64,
    pub(super) cpu_s: u64,
    pub(super) file_bytes: u64,
}

impl Order {
    pub(super) fn to_line(&self) -> Vec<u8> {
        // It only has numbers and digits, so this does not fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Identifies the version and those settings of an engine that affect the code.
pub(super) fn compatibility(engine: &Engine) -> Digest {
    Digest::of_hashed(&[], &engine.precompile_compatibility_hash())
}

/// Compiles one component that the host sends on standard input. The program of [`Compiler::Child`](crate::Compiler::Child) must call
/// this when it is run with the arguments given there, before it starts threads or opens files, and end with the returned code.
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
    let order: Order = order.and_then(|_| Ok(serde_json::from_slice(&line)?)).map_err(|error| {
        PluginError::protocol(format!("only a host may run this command, to compile a component: {error}"))
    })?;
    confine(&order).map_err(|error| PluginError::internal(format!("cannot limit the compiler: {error}")))?;
    let mut component = Vec::new();
    let read = (&mut input).take(order.component_bytes).read_to_end(&mut component);
    if read.is_ok_and(|read| read as u64 != order.component_bytes) {
        return Err(PluginError::protocol("the host did not send the whole component"));
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
    Err(PluginError::internal("the compiler is not of the same build as the host, or was built with other settings")
        .with_help("name a program of the same build as `Compiler::Child`"))
}

/// Sets limits that the kernel enforces, and gives up any way to more rights.
fn confine(order: &Order) -> io::Result<()> {
    let limit = |resource, most: u64| {
        // A lower limit that is already set stays.
        let most = getrlimit(resource).maximum.map_or(most, |given| given.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    // 1 instead of 0 also prevents a core dump to a program (`core_pattern` with `|`).
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
