//! Passes what a guest writes to the plugin's log: with the call's id, and with a limit on the number of records.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallId, LogLevel, LogSource};
use bivium_records::{InstanceLog, Line, PluginLog};

use super::last_output::LastOutput;

/// The log of one instance.
pub(crate) struct GuestLog {
    log: InstanceLog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    call: Option<CallId>,
    /// What the guest has written since the call began.
    last_output: LastOutput,
    stdout: Line,
    stderr: Line,
}

/// A standard stream of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdStream {
    Stdout,
    Stderr,
}

impl StdStream {
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

    /// Later records belong to this call, or to none.
    pub(crate) fn set_call(&self, call: Option<CallId>) {
        let mut state = self.state();
        self.flush_lines(&mut state);
        state.call = call;
        state.last_output.clear();
    }

    pub(crate) fn instance(&self) -> u64 {
        self.log.instance()
    }

    pub(crate) fn call(&self) -> Option<CallId> {
        self.state().call
    }

    /// Calls `look` with what the guest has written since the call began. An unfinished line counts as ended.
    pub(crate) fn last_output<T>(&self, look: impl FnOnce(&LastOutput) -> T) -> T {
        let mut state = self.state();
        self.flush_lines(&mut state);
        look(&state.last_output)
    }

    /// Writes a record, unless the instance has recently written too many.
    pub(crate) fn write(&self, level: LogLevel, source: LogSource, message: &str) {
        let call = {
            let mut state = self.state();
            if level == LogLevel::Error {
                state.last_output.record(message);
            }
            state.call
        };
        self.log.push(level, source, call, message);
    }

    /// Prints bytes: each finished line becomes a record.
    pub(crate) fn print(&self, from: StdStream, bytes: &[u8]) {
        let mut state = self.state();
        let State { call, last_output, stdout, stderr } = &mut *state;
        match from {
            StdStream::Stdout => stdout.push(bytes, |line| self.printed(from, *call, line, last_output)),
            StdStream::Stderr => stderr.push(bytes, |line| self.printed(from, *call, line, last_output)),
        }
    }

    /// Makes records of unfinished lines.
    pub(crate) fn flush(&self) {
        self.flush_lines(&mut self.state());
    }

    fn flush_lines(&self, state: &mut State) {
        let State { call, last_output, stdout, stderr } = state;
        stdout.end(|line| self.printed(StdStream::Stdout, *call, line, last_output));
        stderr.end(|line| self.printed(StdStream::Stderr, *call, line, last_output));
    }

    fn printed(&self, from: StdStream, call: Option<CallId>, line: &str, last_output: &mut LastOutput) {
        let (level, source) = from.kind();
        if from == StdStream::Stderr {
            last_output.line(line);
        }
        self.log.push(level, source, call, line);
    }

    /// Ends the call: an unfinished line belongs to it. Reports records that were dropped.
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
    fn a_flood_of_records_is_cut_and_reported() {
        let log = PluginLog::new("p");
        let guest = GuestLog::new(log.clone(), 7, 1000);
        let call = CallId::next();
        guest.set_call(Some(call));
        for n in 0..3000 {
            guest.write(LogLevel::Error, LogSource::Log, &n.to_string());
        }
        assert_eq!(guest.last_output(LastOutput::sentence).unwrap(), "2999");
        guest.end_call();
        let last = log.tail(1).remove(0);
        assert_eq!((last.source, last.call, last.instance), (LogSource::Host, Some(call), 7));
        assert!(last.message.contains("dropped"), "{}", last.message);
        assert!(log.tail(usize::MAX).len() <= PluginLog::CAPACITY);
    }

    #[test]
    fn an_unfinished_line_belongs_to_its_call() {
        let log = PluginLog::new("p");
        let guest = GuestLog::new(log.clone(), 1, 1000);
        let (first, second) = (CallId::next(), CallId::next());
        guest.set_call(Some(first));
        guest.print(StdStream::Stdout, b"half");
        guest.end_call();
        guest.set_call(Some(second));
        guest.print(StdStream::Stdout, b"another");
        guest.set_call(None);
        let records: Vec<_> = log.tail(10).into_iter().map(|record| (record.call, record.message)).collect();
        assert_eq!(records, [(Some(first), "half".to_owned()), (Some(second), "another".to_owned())]);
    }
}
