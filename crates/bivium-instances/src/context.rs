//! [`PluginContext`]: what a host gives to one plugin, whichever road it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bivium_interface::{Granted, LogLevel, PluginError, Result};

use crate::{Auditor, PluginLog, Protected};

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

/// The host's secrets by name. Neither shown by `Debug` nor written anywhere. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, String>>);

impl Secrets {
    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of this name, which a plugin is granted.
    ///
    /// # Errors
    /// `invalid-config` if the host has no such secret, saying how to give it.
    pub fn granted(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            PluginError::invalid_config(format!("the plugin is granted the secret `{name}`, and this host has none"))
                .with_help(format!("set BIVIUM_SECRET_{name}, or give it with `ManagerBuilder::secret`"))
        })
    }

    /// One more secret.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
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
