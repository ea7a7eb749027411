//! [`PluginContext`]: what a host gives to one plugin, whichever road it takes.

use std::sync::Arc;

use bivium_interface::{Granted, LogLevel};
use bivium_records::{Auditor, PluginLog, Secrets};

use crate::Protected;

/// What a host gives to one plugin. Cheap to clone.
#[derive(Clone)]
pub struct PluginContext {
    /// Its log.
    pub log: PluginLog,
    /// Its way to the audit log.
    pub audit: Auditor,
    /// What it may do and use up.
    pub granted: Arc<Granted>,
    /// The host's secrets, of which it gets those that it is granted.
    pub secrets: Secrets,
    /// What it must not reach, whatever it is granted.
    pub protected: Protected,
    /// The least level of the log records that it is asked for; its runtime's own where the host asks for none.
    pub log_level: Option<LogLevel>,
}

impl PluginContext {
    /// A context without an audit log and secrets.
    #[must_use]
    pub fn new(log: PluginLog, granted: Granted) -> Self {
        let audit = Auditor::new(log.plugin(), None, log.clone());
        Self {
            log,
            audit,
            granted: Arc::new(granted),
            secrets: Secrets::default(),
            protected: Protected::default(),
            log_level: None,
        }
    }
}
