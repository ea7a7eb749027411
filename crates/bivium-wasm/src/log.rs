//! What a guest writes, on its way to the plugin's log: with the call's id, and no more of it than the host can bear.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bivium_instances::PluginLog;
use bivium_interface::{CallId, LogLevel, LogSource};

/// The log of one instance.
pub(crate) struct GuestLog {
    log: PluginLog,
    instance: u64,
    /// Records that the instance may write in one [`WINDOW`](Self::WINDOW); the rest are counted and dropped.
    most: u32,
    state: Mutex<State>,
}

struct State {
    call: Option<CallId>,
    /// Start of the current window, and records in it.
    window: Instant,
    records: u32,
    dropped: u64,
    /// The last error since the call began: what a guest says before it traps.
    last_error: Option<String>,
}

impl GuestLog {
    const WINDOW: Duration = Duration::from_secs(1);
    /// As much of an error as is repeated in the report of a trap.
    const MAX_LAST_ERROR: usize = 2 << 10;

    pub(crate) fn new(log: PluginLog, instance: u64, most: u32) -> Self {
        let state = State { call: None, window: Instant::now(), records: 0, dropped: 0, last_error: None };
        Self { log, instance, most, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records from now on belong to this call, or to none.
    pub(crate) fn set_call(&self, call: Option<CallId>) {
        let mut state = self.state();
        state.call = call;
        state.last_error = None;
    }

    pub(crate) fn instance(&self) -> u64 {
        self.instance
    }

    pub(crate) fn call(&self) -> Option<CallId> {
        self.state().call
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.state().last_error.clone()
    }

    /// Writes a record, unless the instance has written too many of late.
    pub(crate) fn write(&self, level: LogLevel, source: LogSource, message: &str) {
        let (call, dropped) = {
            let mut state = self.state();
            if level == LogLevel::Error {
                let end = message.floor_char_boundary(Self::MAX_LAST_ERROR);
                state.last_error = message.get(..end).map(str::to_owned);
            }
            if state.window.elapsed() >= Self::WINDOW {
                state.window = Instant::now();
                state.records = 0;
            }
            if state.records == self.most {
                state.dropped += 1;
                return;
            }
            state.records += 1;
            (state.call, std::mem::take(&mut state.dropped))
        };
        self.tell_dropped(dropped, call);
        self.log.push(level, source, self.instance, call, message);
    }

    fn tell_dropped(&self, dropped: u64, call: Option<CallId>) {
        if dropped > 0 {
            let message = format!(
                "{dropped} log records were dropped: more than {} in a second (`limits.log_records`)",
                self.most
            );
            self.log.push(LogLevel::Warn, LogSource::Host, self.instance, call, &message);
        }
    }

    /// Tells now of what was dropped: the call ends.
    pub(crate) fn end_call(&self) {
        let (call, dropped) = {
            let mut state = self.state();
            (state.call.take(), std::mem::take(&mut state.dropped))
        };
        self.tell_dropped(dropped, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_told() {
        let log = PluginLog::new("p");
        let guest = GuestLog::new(log.clone(), 7, 1000);
        let call = CallId::next();
        guest.set_call(Some(call));
        for n in 0..3000 {
            guest.write(LogLevel::Error, LogSource::Log, &n.to_string());
        }
        assert_eq!(guest.last_error().unwrap(), "2999");
        guest.end_call();
        let last = log.tail(1).remove(0);
        assert_eq!((last.source, last.call, last.instance), (LogSource::Host, Some(call), 7));
        assert!(last.message.contains("dropped"), "{}", last.message);
        assert!(log.tail(usize::MAX).len() <= PluginLog::CAPACITY);
    }
}
