//! [`InstanceLog`]: the log records of one instance, limited in number.

use std::sync::atomic::{AtomicU64, Ordering};

use bivium_interface::{CallId, LogLevel, LogSource};

use super::PluginLog;
use crate::rate::Rate;

/// Writes one instance's records to its plugin's log, with the instance's number. A limited number per second is written; the rest are
/// counted, and the count is logged.
pub struct InstanceLog {
    log: PluginLog,
    instance: AtomicU64,
    rate: Rate,
}

impl InstanceLog {
    /// A log for this instance, with at most `most` records per second (`limits.log_records`).
    #[must_use]
    pub fn new(log: PluginLog, instance: u64, most: u32) -> Self {
        Self { log, instance: AtomicU64::new(instance), rate: Rate::new(most) }
    }

    /// The instance's number.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.instance.load(Ordering::Relaxed)
    }

    /// Sets the instance's number, from now on.
    pub fn set_instance(&self, instance: u64) {
        self.instance.store(instance, Ordering::Relaxed);
    }

    /// Adds a record, unless there were too many in the last second.
    pub fn push(&self, level: LogLevel, source: LogSource, call: Option<CallId>, message: &str) {
        let Some(dropped) = self.rate.admit() else { return };
        self.log_dropped(dropped, call);
        self.log.push(level, source, self.instance(), call, message);
    }

    /// Logs now how many records were dropped, because the call or the instance ends.
    pub fn settle(&self, call: Option<CallId>) {
        self.log_dropped(self.rate.dropped(), call);
    }

    fn log_dropped(&self, dropped: u64, call: Option<CallId>) {
        if dropped > 0 {
            let most = self.rate.most();
            let message = format!(
                "{dropped} log records were dropped: there were more than {most} in a second (`limits.log_records`)"
            );
            self.log.push(LogLevel::Warn, LogSource::Host, self.instance(), call, &message);
        }
    }
}
