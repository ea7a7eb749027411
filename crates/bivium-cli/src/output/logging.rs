//! Log records of the library and of plugins, on standard error.

use tracing_subscriber::EnvFilter;

use super::Screen;
use crate::args::Global;

/// Starts logging: warnings unless more or less is asked for. `BIVIUM_LOG` decides where it is set.
pub(crate) fn start(global: &Global, screen: &Screen) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    // Other crates' detail is of no use to those who ask for ours.
    let default = format!(
        "warn,bivium={level},bivium_exchange={level},bivium_instances={level},bivium_remote={level},bivium_wasm={level}"
    );
    let default = if global.quiet { level.to_owned() } else { default };
    let asked = std::env::var("BIVIUM_LOG").ok().filter(|filter| !filter.is_empty());
    let (filter, wrong) = match asked.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(&default), Some(error)),
        None => (EnvFilter::new(&default), None),
    };
    let writer = screen.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .log_internal_errors(false)
        .init();
    if let Some(error) = wrong {
        tracing::warn!(%error, "BIVIUM_LOG is no valid filter");
    }
}
