//! [`FailureLog`]: the errors of a plugin's calls and loads, in its log.

use bivium_interface::{ErrorCode, LogLevel, PluginError};

use super::PluginLog;
use crate::rate::Rate;

/// Writes errors into the log of one plugin. The caller gets each of them; who reads the log later finds them there.
pub struct FailureLog {
    log: PluginLog,
    rate: Rate,
}

impl FailureLog {
    /// Errors in a second that are written; the rest are counted, and the count is told.
    pub const RECORDS: u32 = 100;

    /// For the plugin of this log.
    #[must_use]
    pub fn new(log: PluginLog) -> Self {
        Self { log, rate: Rate::new(Self::RECORDS) }
    }

    /// Writes the error of a call. If the caller has cancelled the call, the plugin is not at fault: the record's level is info.
    pub fn call(&self, error: &PluginError) {
        self.push("the call failed", error);
    }

    /// Writes why the plugin was not loaded.
    pub fn load(&self, error: &PluginError) {
        self.push("the plugin was not loaded", error);
    }

    fn push(&self, what: &str, error: &PluginError) {
        let Some(dropped) = self.rate.admit() else { return };
        self.tell(dropped);
        let level = if error.code() == ErrorCode::Cancelled { LogLevel::Info } else { LogLevel::Error };
        let message = format!("{what} ({}): {}", error.code(), error.sentence());
        self.log.note(level, error.call(), &message);
    }

    fn tell(&self, dropped: u64) {
        if dropped > 0 {
            let most = self.rate.most();
            let message = format!("{dropped} errors of calls were left out: more than {most} in a second");
            self.log.note(LogLevel::Warn, None, &message);
        }
    }
}

impl Drop for FailureLog {
    fn drop(&mut self) {
        self.tell(self.rate.dropped());
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::{CallId, LogSource};

    use super::*;

    #[test]
    fn an_error_is_written_with_its_code_and_call_and_a_flood_is_counted() {
        let log = PluginLog::new("p");
        let failures = FailureLog::new(log.clone());
        let call = CallId::next();
        let error = PluginError::denied("no such right").with_plugin("p").with_call(call).with_help("ask for it");
        failures.call(&error);
        failures.load(&PluginError::cancelled("it was cancelled").with_plugin("p"));
        let records = log.tail(2);
        let told = "the call failed (denied): no such right; ask for it";
        assert_eq!(
            (records[0].message.as_str(), records[0].call, records[0].level),
            (told, Some(call), LogLevel::Error)
        );
        assert_eq!((records[1].level, records[1].source), (LogLevel::Info, LogSource::Host));
        let flood = 3 * FailureLog::RECORDS as usize;
        (0..flood).for_each(|_| failures.call(&error));
        drop(failures);
        let (told, left_out): (Vec<_>, Vec<_>) = log
            .tail(usize::MAX)
            .into_iter()
            .map(|record| record.message)
            .partition(|message| message.contains("failed"));
        let count = |message: &String| message.split(' ').next().and_then(|count| count.parse::<usize>().ok());
        assert_eq!(told.len() - 1 + left_out.iter().filter_map(count).sum::<usize>(), flood);
        assert!(left_out.iter().any(|message| message.contains("more than 100 in a second")), "{left_out:?}");
    }
}
