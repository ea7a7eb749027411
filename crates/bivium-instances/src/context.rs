//! [`PluginContext`]: what a host gives to one plugin of either runtime.

use std::sync::Arc;

use bivium_interface::{Granted, LogLevel};
use bivium_records::{Auditor, PluginLog, Secrets};

use crate::{DeviceAccess, Protected};

/// What a host gives to one plugin. Cheap to clone.
#[derive(Clone)]
pub struct PluginContext {
    /// Its log.
    pub log: PluginLog,
    /// Writes the plugin's records in the audit log.
    pub audit: Auditor,
    /// Its permissions and limits.
    pub granted: Arc<Granted>,
    /// The host's secrets. The plugin gets only those that it is granted.
    pub secrets: Secrets,
    /// Directories that it must not reach, whatever it is granted.
    pub protected: Protected,
    /// Where its instances are placed, if they need GPUs and the host's scheduler places them.
    pub devices: Option<DeviceAccess>,
    /// The lowest level of log records that the plugin should write; `None` leaves it to the runtime.
    pub log_level: Option<LogLevel>,
}

impl PluginContext {
    /// A context without an audit log and without secrets.
    #[must_use]
    pub fn new(log: PluginLog, granted: Granted) -> Self {
        let audit = Auditor::new(log.plugin(), None, log.clone());
        Self {
            log,
            audit,
            granted: Arc::new(granted),
            secrets: Secrets::default(),
            protected: Protected::default(),
            devices: None,
            log_level: None,
        }
    }
}
