//! Log records of plugins.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::CallId;

/// How much a log record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For following every step.
    Trace,
    /// For finding a fault.
    Debug,
    /// For the course of things.
    Info,
    /// Something is not as it should be; work goes on.
    Warn,
    /// Something failed.
    Error,
}

/// Where a log record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// The plugin's own logging.
    Log,
    /// A line of its standard output.
    Stdout,
    /// A line of its standard error.
    Stderr,
    /// The host, about the plugin.
    Host,
}

/// One log record of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When the host received it.
    pub time: SystemTime,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it came from.
    pub source: LogSource,
    /// The instance: a number of a component's instance or the process id of a worker.
    pub instance: u64,
    /// The call during which it was written, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// What it says: one line, or several for a traceback.
    pub message: String,
}
