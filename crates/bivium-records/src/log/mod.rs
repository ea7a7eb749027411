//! The log of one plugin: the last records in memory, a `tracing` event for each record and, if the host stores logs, a line in a file.

mod failures;
mod files;
mod instance;
mod kept;
mod line;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use bivium_interface::{CallId, LogLevel, LogRecord, LogSource, head};
use tokio::sync::broadcast;

pub use failures::FailureLog;
pub use files::LogFiles;
pub(crate) use files::ends_in_half_a_line;
pub use instance::InstanceLog;
pub use kept::{KeptLog, LogFilter};
pub use line::Line;

/// Keeps the last records of a plugin, and passes each to `tracing` (target `bivium::plugin`) and to followers.
/// Cheap to clone; clones are the same log.
#[derive(Clone)]
pub struct PluginLog(Arc<Inner>);

struct Inner {
    plugin: Arc<str>,
    records: Mutex<VecDeque<LogRecord>>,
    followers: broadcast::Sender<LogRecord>,
    files: Option<LogFiles>,
    /// The number of records that were not written to files.
    missing: AtomicU64,
}

impl PluginLog {
    /// How many records are kept: a thousand, which at [`Self::MAX_MESSAGE`] each take less than 16 MiB for each plugin.
    pub const CAPACITY: usize = 1000;
    /// The longest message, in bytes. The rest is cut off.
    pub const MAX_MESSAGE: usize = 16 << 10;
    /// How many records a slow follower may be behind before it loses the oldest.
    const FOLLOW: usize = 256;

    /// An empty log for this plugin, in memory only.
    #[must_use]
    pub fn new(plugin: impl Into<Arc<str>>) -> Self {
        Self::kept(plugin, None)
    }

    /// As [`new`](Self::new), with the records also stored in files.
    #[must_use]
    pub fn kept(plugin: impl Into<Arc<str>>, files: Option<LogFiles>) -> Self {
        Self(Arc::new(Inner {
            plugin: plugin.into(),
            records: Mutex::default(),
            followers: broadcast::channel(Self::FOLLOW).0,
            files,
            missing: AtomicU64::new(0),
        }))
    }

    /// The plugin's name.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// Adds a record. Never blocks for long.
    pub fn push(&self, level: LogLevel, source: LogSource, instance: u64, call: Option<CallId>, message: &str) {
        self.add(level, level, source, instance, call, message);
    }

    /// Adds a record of the host's that needs no attention where it happens: the caller gets the same as an error, or
    /// it is the same at each start. Its `tracing` event has the level debug.
    pub fn note(&self, level: LogLevel, call: Option<CallId>, message: &str) {
        self.add(level, LogLevel::Debug, LogSource::Host, 0, call, message);
    }

    fn add(
        &self,
        level: LogLevel,
        traced: LogLevel,
        source: LogSource,
        instance: u64,
        call: Option<CallId>,
        message: &str,
    ) {
        let message = head(message, Self::MAX_MESSAGE).to_owned();
        self.trace(traced, source, instance, call, &message);
        let record = LogRecord::new(level, source, instance, call, message);
        if let Some(files) = &self.0.files {
            files.write(&self.0.plugin, record.clone(), &self.0.missing);
        }
        // An error means that there is no follower.
        let _ = self.0.followers.send(record.clone());
        let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == Self::CAPACITY {
            records.pop_front();
        }
        records.push_back(record);
    }

    fn trace(&self, level: LogLevel, source: LogSource, instance: u64, call: Option<CallId>, message: &str) {
        let plugin = &*self.0.plugin;
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "bivium::plugin",
                    tracing::Level::$level,
                    plugin,
                    ?source,
                    instance,
                    call = call.map(tracing::field::display),
                    "{message}"
                )
            };
        }
        match level {
            LogLevel::Trace => event!(TRACE),
            LogLevel::Debug => event!(DEBUG),
            LogLevel::Info => event!(INFO),
            LogLevel::Warn => event!(WARN),
            LogLevel::Error => event!(ERROR),
        }
    }

    /// The last `count` records, oldest first.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<LogRecord> {
        let records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().skip(records.len().saturating_sub(count)).cloned().collect()
    }

    /// Receives the records from now on. A follower that is far behind loses the oldest records.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<LogRecord> {
        self.0.followers.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_records_and_cuts_long_ones() {
        let log = PluginLog::new("p");
        let mut follower = log.follow();
        for n in 0..=PluginLog::CAPACITY {
            log.push(LogLevel::Info, LogSource::Log, 1, None, &n.to_string());
        }
        assert_eq!(log.tail(usize::MAX).len(), PluginLog::CAPACITY);
        assert_eq!(log.tail(1)[0].message, PluginLog::CAPACITY.to_string());
        assert_eq!(log.tail(usize::MAX)[0].message, "1");
        assert!(follower.try_recv().is_err(), "a follower that lags is told so");

        log.push(LogLevel::Info, LogSource::Log, 1, None, &"é".repeat(PluginLog::MAX_MESSAGE));
        assert_eq!(log.tail(1)[0].message.len(), PluginLog::MAX_MESSAGE);
    }
}
