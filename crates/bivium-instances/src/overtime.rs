//! [`overtime`]: the error of a plugin that took longer than its limits let it.

use std::time::Duration;

use bivium_interface::PluginError;

/// The error of a plugin that `did` something (it "ran", it "computed") for longer than `limit`, which `limits` has under `key`.
#[must_use]
pub fn overtime(did: &str, limit: Duration, key: &str) -> PluginError {
    let limit = limit.as_millis();
    PluginError::timeout(format!("the plugin {did} for longer than its limit of {limit} ms"))
        .with_help(format!("raise `limits.{key}` in its manifest"))
}
