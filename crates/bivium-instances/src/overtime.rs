//! [`overtime`]: the error for a plugin that exceeded a limit of time.

use std::time::Duration;

use bivium_interface::PluginError;

/// The error for a plugin that `did` something ("ran", "computed") for longer than `limit`, whose key in `limits` is `key`.
#[must_use]
pub fn overtime(did: &str, limit: Duration, key: &str) -> PluginError {
    let limit = limit.as_millis();
    PluginError::timeout(format!("the plugin {did} for longer than its limit of {limit} ms"))
        .with_help(format!("raise `limits.{key}` in its manifest"))
}
