//! Compiles a component, on a thread of this process or in a child, and stores the code in the cache if there is one.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use bivium_interface::{PluginError, Result};
use wasmtime::Engine;

use super::cache::CacheKey;
use super::code::{self, Code};
use super::find::{Cached, Compiled, cached};
use super::request::CompileLimits;
use super::source::Binary;
use super::{child, count};
use crate::{ceilings, refusal};

/// Compiles on this thread.
pub(super) fn here(cache: Cached<'_>, engine: &Engine, binary: &Binary) -> Result<Compiled> {
    count::check(&binary.bytes)?;
    let compiled = engine.precompile_component(&binary.bytes).map_err(|error| refusal::malformed(&error))?;
    if let Some(cache) = cache {
        let key = CacheKey::new(engine, binary.digest);
        let kept = cache.draft().and_then(|draft| {
            std::io::Write::write_all(&mut draft.code(), &compiled)?;
            draft.install(key)
        });
        match kept {
            Ok(()) => {
                if let Some(found) = cached(Some(cache), engine, binary.digest) {
                    return Ok(Compiled { was_cached: false, ..found });
                }
            }
            Err(error) => cache.warn_not_stored(&error),
        }
    }
    let component = code::from_memory(engine, &compiled).map_err(|error| not_taken(&error))?;
    Ok(Compiled { component, was_cached: false, bytes: compiled.len() as u64 })
}

/// Compiles in a child process.
pub(super) async fn in_child(
    cache: Cached<'_>,
    engine: &Engine,
    program: &Path,
    args: &[OsString],
    binary: Arc<Binary>,
    limits: &CompileLimits,
) -> Result<Compiled> {
    let mut destination = {
        let cache = cache.cloned();
        blocking(move || child::Destination::new(cache.as_ref())).await?
    };
    let compile = |output| child::compile(engine, program, args, &binary.bytes, output, limits);
    if let Err(error) = compile(destination.file()?).await {
        let Some(in_memory) = destination.in_memory_instead(&error) else { return Err(error) };
        destination = in_memory?;
        compile(destination.file()?).await?;
    }
    let engine = engine.clone();
    blocking(move || {
        let key = CacheKey::new(&engine, binary.digest);
        // Mapped before it is installed in the cache, so that the cache only keeps code that the engine accepts.
        let code = Code::trusted(destination.file()?, None);
        let component = code.component(&engine).map_err(|error| not_taken(&error))?;
        destination.install(key);
        Ok(Compiled { component, was_cached: false, bytes: code.bytes() })
    })
    .await
}

/// Runs blocking work on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PluginError::internal(format!("compiling the component failed: {error}")))?
}

fn not_taken(error: &wasmtime::Error) -> PluginError {
    if let Some(unfit) = ceilings::unfit(error) {
        return unfit;
    }
    PluginError::internal(format!("the engine does not accept the compiled component: {error:#}"))
}
