//! What a guest writes, on its way to the plugin's log: with the call's id, and no more of it than the host can bear.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallId, LogLevel, LogSource};
use bivium_records::{InstanceLog, Line, PluginLog};

use super::words::LastWords;

/// The log of one instance.
pub(crate) struct GuestLog {
    log: InstanceLog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    call: Option<CallId>,
    /// Since the call began.
    words: LastWords,
    stdout: Line,
    stderr: Line,
}

/// A stream on which a guest prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    Stdout,
    Stderr,
}

impl Printed {
    fn kind(self) -> (LogLevel, LogSource) {
        match self {
            Self::Stdout => (LogLevel::Info, LogSource::Stdout),
            Self::Stderr => (LogLevel::Warn, LogSource::Stderr),
        }
    }
}

impl GuestLog {
    pub(crate) fn new(log: PluginLog, instance: u64, most: u32) -> Self {
        Self { log: InstanceLog::new(log, instance, most), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records from now on belong to this call, or to none.
    pub(crate) fn set_call(&self, call: Option<CallId>) {
        let mut state = self.state();
        self.flush_lines(&mut state);
        state.call = call;
        state.words.clear();
    }

    pub(crate) fn instance(&self) -> u64 {
        self.log.instance()
    }

    pub(crate) fn call(&self) -> Option<CallId> {
        self.state().call
    }

    /// Looks at what the guest has said since the call began. A line that has no end yet ends by it.
    pub(crate) fn last_words<T>(&self, look: impl FnOnce(&LastWords) -> T) -> T {
        let mut state = self.state();
        self.flush_lines(&mut state);
        look(&state.words)
    }

    /// Writes a record, unless the instance has written too many of late.
    pub(crate) fn write(&self, level: LogLevel, source: LogSource, message: &str) {
        let call = {
            let mut state = self.state();
            if level == LogLevel::Error {
                state.words.record(message);
            }
            state.call
        };
        self.log.push(level, source, call, message);
    }

    /// What the guest prints: a record for each line that ends.
    pub(crate) fn print(&self, from: Printed, bytes: &[u8]) {
        let mut state = self.state();
        let State { call, words, stdout, stderr } = &mut *state;
        match from {
            Printed::Stdout => stdout.push(bytes, |line| self.printed(from, *call, line, words)),
            Printed::Stderr => stderr.push(bytes, |line| self.printed(from, *call, line, words)),
        }
    }

    /// Makes records of lines that have no end yet.
    pub(crate) fn flush(&self) {
        self.flush_lines(&mut self.state());
    }

    fn flush_lines(&self, state: &mut State) {
        let State { call, words, stdout, stderr } = state;
        stdout.end(|line| self.printed(Printed::Stdout, *call, line, words));
        stderr.end(|line| self.printed(Printed::Stderr, *call, line, words));
    }

    fn printed(&self, from: Printed, call: Option<CallId>, line: &str, words: &mut LastWords) {
        let (level, source) = from.kind();
        if from == Printed::Stderr {
            words.line(line);
        }
        self.log.push(level, source, call, line);
    }

    /// The call ends: what it has printed of a line is its own. Tells now of what was dropped.
    pub(crate) fn end_call(&self) {
        let call = {
            let mut state = self.state();
            self.flush_lines(&mut state);
            state.call.take()
        };
        self.log.settle(call);
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        self.flush();
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
        assert_eq!(guest.last_words(LastWords::sentence).unwrap(), "2999");
        guest.end_call();
        let last = log.tail(1).remove(0);
        assert_eq!((last.source, last.call, last.instance), (LogSource::Host, Some(call), 7));
        assert!(last.message.contains("dropped"), "{}", last.message);
        assert!(log.tail(usize::MAX).len() <= PluginLog::CAPACITY);
    }

    #[test]
    fn a_line_without_an_end_is_its_calls() {
        let log = PluginLog::new("p");
        let guest = GuestLog::new(log.clone(), 1, 1000);
        let (first, second) = (CallId::next(), CallId::next());
        guest.set_call(Some(first));
        guest.print(Printed::Stdout, b"half");
        guest.end_call();
        guest.set_call(Some(second));
        guest.print(Printed::Stdout, b"another");
        guest.set_call(None);
        let records: Vec<_> = log.tail(10).into_iter().map(|record| (record.call, record.message)).collect();
        assert_eq!(records, [(Some(first), "half".to_owned()), (Some(second), "another".to_owned())]);
    }
}
