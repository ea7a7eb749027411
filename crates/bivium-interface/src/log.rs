//! Log records of plugins.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::CallId;

/// The level of a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// Details for finding a fault.
    Debug,
    /// Normal events.
    Info,
    /// Something is wrong, but work goes on.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Its name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
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

impl LogSource {
    /// Its name, as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
        }
    }
}

/// One log record of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogRecord {
    /// When the host received it; in JSON `time_ms`, milliseconds since 1970 (UTC).
    #[serde(rename = "time_ms", with = "milliseconds")]
    pub time: SystemTime,
    /// Its level.
    pub level: LogLevel,
    /// Its source.
    pub source: LogSource,
    /// The instance: the number of a component's instance or the process id of a worker.
    pub instance: u64,
    /// The call during which it was written, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The message: one line, or several for a traceback.
    pub message: String,
}

impl LogRecord {
    /// A record that the host receives now.
    #[must_use]
    pub fn new(
        level: LogLevel,
        source: LogSource,
        instance: u64,
        call: Option<CallId>,
        message: impl Into<String>,
    ) -> Self {
        Self { time: SystemTime::now(), level, source, instance, call, message: message.into() }
    }
}

mod milliseconds {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// The end of the year 9999: a date in the form of RFC 3339 has four digits for the year.
    const LAST: u64 = 253_402_300_799_999;

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let since = u64::deserialize(deserializer)?;
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(since)).filter(|_| since <= LAST);
        time.ok_or_else(|| D::Error::custom("the time is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_flat_object_with_milliseconds() {
        let text = r#"{"time_ms":1767323045678,"level":"warn","source":"stderr","instance":7,"message":"x"}"#;
        let record: LogRecord = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!((record.level.as_str(), record.source.as_str()), ("warn", "stderr"));
        assert!(serde_json::from_str::<LogRecord>(&text.replace("1767323045678", "18446744073709551615")).is_err());
    }
}
