//! WebAssembly components in a deny-by-default sandbox.
//!
//! A [`WasmEngine`] is made once for a host. [`load`] reads the component of a manifest, refuses anything that is not a plugin with one
//! clear sentence, compiles the component and returns a [`ComponentPlugin`]: a pool of instances behind `PluginInterface`.
//!
//! A component can use only its imports: its log, its progress, the blobs that it was given, and WASI as far as permissions grant it.
//! Memory, time, handles and output are limited. A guest that computes without end yields at every tick and is stopped at its deadline.
//! A guest that traps ends only its own instance.

mod capability;
mod ceilings;
mod command;
mod compile;
mod describe;
mod document;
mod engine;
mod factory;
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod instance;
mod kind;
mod refusal;
mod settings;
mod state;
mod store;
mod text;
mod trap;
mod typed;
mod wasi;
mod world;

use bivium_exchange::Exchange;
use bivium_instances::{PluginContext, PooledPlugin};
use bivium_interface::manifest::{Limits, WasmPlugin};
use bivium_interface::{Manifest, Result};
use compile::ComponentRequest;

pub use capability::network::{Resolver, SystemResolver};
pub use compile::{CacheUsage, Compilation, Compiler, check_component, compiler_main};
pub use describe::{Description, Import, describe};
pub use engine::{WasmConfig, WasmEngine};
pub use factory::ComponentFactory;
pub use instance::ComponentInstance;

/// A WebAssembly component behind `PluginInterface`.
pub type ComponentPlugin = PooledPlugin<ComponentFactory>;

/// Loads the component of a manifest; `plugin` is the part of the manifest for a component. No instance is made yet, so none of its
/// code has run.
///
/// # Errors
/// Those of [`ComponentFactory::load`].
pub async fn load(
    engine: &WasmEngine,
    manifest: &Manifest,
    plugin: &WasmPlugin,
    exchange: &Exchange,
    context: PluginContext,
) -> Result<ComponentPlugin> {
    Ok(PooledPlugin::new(ComponentFactory::load(engine, manifest, plugin, exchange, context).await?))
}

/// Compiles the component of the plugin of this name, unless it is in the cache already, and checks that it can be loaded.
///
/// # Errors
/// Those of [`ComponentFactory::load`].
pub async fn compile(engine: &WasmEngine, name: &str, plugin: &WasmPlugin, limits: &Limits) -> Result<Compilation> {
    let engine = engine.for_limits(limits)?;
    let request = ComponentRequest::of(name, plugin, limits, engine.config().compile_memory());
    let (_, compiled) = factory::guest(&engine, request).await?;
    Ok(Compilation {
        was_cached: compiled.was_cached,
        bytes: compiled.bytes,
        cache: engine.cache().map(|cache| cache.directory),
    })
}
