//! The ticker: one thread that moves the engine's epoch on, so that a guest which computes without end yields to the
//! others, sees its call cancelled and meets its deadline.

use std::thread;
use std::time::Duration;

use bivium_interface::{PluginError, Result};
use wasmtime::Engine;

/// How long a guest computes before it yields. Short against the 50 ms within which a call must end after its cancel,
/// long against a yield (about a microsecond).
const TICK: Duration = Duration::from_millis(5);

/// Ticks after which a running guest yields.
pub(crate) const TICKS_TO_YIELD: u64 = 1;

/// Starts the thread; it ends within a tick after the engine is gone.
pub(super) fn start(engine: &Engine) -> Result<()> {
    let engine = engine.weak();
    let tick = move || {
        loop {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    let spawned = thread::Builder::new().name("bivium-wasm-tick".to_owned()).spawn(tick);
    spawned.map(drop).map_err(|error| PluginError::internal(format!("cannot start the ticker thread: {error}")))
}
