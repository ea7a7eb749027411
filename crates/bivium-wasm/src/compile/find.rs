//! Looks for a component in the cache.

use std::sync::Arc;

use bivium_interface::{PluginError, Result};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{Cache, CacheKey};
use super::digest::Digest;
use super::request::ComponentRequest;
use super::source::{Binary, ComponentFile, at};
use crate::refusal;

/// The cache, if there is one.
pub(super) type Cached<'a> = Option<&'a Arc<Cache>>;

/// A component that can be run.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    /// Whether it was in the cache.
    pub(crate) was_cached: bool,
    /// The size of its code.
    pub(crate) bytes: u64,
}

/// The result of looking for a component in the cache.
pub(super) enum Found {
    Compiled(Compiled),
    Binary(Binary),
}

/// Opens the component and looks for it in the cache. It reads the file only if that is necessary.
pub(super) fn open(cache: Cached<'_>, engine: &Engine, request: &ComponentRequest) -> Result<Found> {
    let in_file = |error| at(&request.path, error);
    let expected = request.sha256.as_deref();
    if let Some(bytes) = &request.bytes {
        let binary = Binary::in_memory(bytes, &request.path, request.limits.component_bytes)?;
        return checked(cache, engine, binary, expected).map_err(in_file);
    }
    let source = ComponentFile::open(&request.path, request.limits.component_bytes)?;
    let known = cache.and_then(|cache| cache.remembered(source.stamp()));
    if let Some(digest) = known {
        check_digest(digest, expected).map_err(in_file)?;
        if let Some(compiled) = cached(cache, engine, digest) {
            return Ok(Found::Compiled(compiled));
        }
    }
    checked(cache, engine, source.read()?, expected).map_err(in_file)
}

/// Checks a component that was read, and looks for it in the cache.
fn checked(cache: Cached<'_>, engine: &Engine, binary: Binary, expected: Option<&str>) -> Result<Found> {
    check_digest(binary.digest, expected)?;
    refusal::check_header(&binary.bytes)?;
    if let (Some(cache), Some(stamp)) = (cache, &binary.stamp) {
        cache.remember(stamp, binary.digest);
    }
    Ok(match cached(cache, engine, binary.digest) {
        Some(compiled) => Found::Compiled(compiled),
        None => Found::Binary(binary),
    })
}

/// Looks for a component in the cache.
pub(super) fn cached(cache: Cached<'_>, engine: &Engine, digest: Digest) -> Option<Compiled> {
    let cache = cache?;
    let key = CacheKey::new(engine, digest);
    let code = cache.find(key)?;
    match code.component(engine) {
        Ok(component) => Some(Compiled { component, was_cached: true, bytes: code.bytes() }),
        Err(error) => {
            // It is unchanged, but the engine does not accept it: most likely there is no address space for it.
            tracing::warn!(%key, "cannot map a compiled component of the cache; it is compiled again: {error:#}");
            None
        }
    }
}

fn check_digest(found: Digest, expected: Option<&str>) -> Result<()> {
    match expected {
        Some(expected) if Digest::parse(expected) != Some(found) => {
            let message = format!("the file has SHA-256 {found}, not the one in the manifest");
            Err(PluginError::invalid_manifest(message).with_help(
                "restore the file that the manifest was written for, or, if the change is intended, correct `sha256`",
            ))
        }
        _ => Ok(()),
    }
}
