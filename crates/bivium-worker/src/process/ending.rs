//! How a worker ended, and the error for its calls.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bivium_interface::{Failure, PluginError};

use crate::process::signal_name;

/// How many lines of stderr an error contains.
const LAST_LINES: usize = 50;

/// Why a host ends a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// Its plugin was unloaded, or no call needed it for a long time.
    NotNeeded,
    /// A cancelled call did not stop.
    DidNotStop,
    /// It broke the protocol.
    BrokeProtocol,
    /// The host's own runtime ended.
    RuntimeEnded,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotNeeded => "it was no longer needed",
            Self::DidNotStop => "another call in it did not stop when it was interrupted",
            Self::BrokeProtocol => "it broke the protocol",
            Self::RuntimeEnded => "its host's runtime ended in the middle of a call",
        })
    }
}

/// How a worker ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// Its exit status, if it exited.
    pub(crate) status: Option<i32>,
    /// The signal that ended it, if one did.
    pub(crate) signal: Option<i32>,
    /// Why the host ended it, if it did.
    pub(crate) because: Option<EndReason>,
    /// Whether the kernel killed it because memory ran out.
    pub(crate) out_of_memory: bool,
    /// Whether its guard did not end in time, for example because it was stopped.
    pub(crate) guard_hung: bool,
    /// Its processes that could not be ended.
    pub(crate) left: Vec<u32>,
    /// The last lines of its stderr.
    pub(crate) stderr: String,
}

impl Ending {
    /// The error of a call, or a start, that was in progress. `when` completes "the worker ended …".
    pub(crate) fn error(&self, when: &str) -> PluginError {
        if self.out_of_memory {
            let message = format!("the kernel killed the worker {when} because memory ran out");
            let failure = Failure::new("OutOfMemory", message.as_str()).with_traceback(self.stderr.clone());
            return PluginError::resource_exhausted(message).with_failure(failure).with_help(
                "raise `limits.memory_mb` in its manifest, or give its control group or the machine more memory",
            );
        }
        let trouble = self.trouble().map(|trouble| format!("; {trouble}")).unwrap_or_default();
        if let Some(because @ (EndReason::DidNotStop | EndReason::NotNeeded | EndReason::RuntimeEnded)) = self.because {
            let message = format!("the host ended the worker {when}: {because}{trouble}");
            return PluginError::interrupted(message)
                .with_help("call again, unless the call may already have done something that must not be done twice");
        }
        let (kind, how) = match (self.because, self.signal, self.status) {
            (Some(because), ..) => ("killed".to_owned(), format!("was ended by the host: {because}")),
            (None, Some(signal), _) => (signal_name(signal), format!("was killed by {}", signal_name(signal))),
            (None, None, Some(status)) => (format!("exit status {status}"), format!("exited with status {status}")),
            (None, None, None) => ("end".to_owned(), "ended".to_owned()),
        };
        let message = format!("the worker {how} {when}{trouble}");
        let failure = Failure::new(kind, message.as_str()).with_traceback(self.stderr.clone());
        let help = match self.telling() {
            Some(line) => format!("its stderr says: {line}"),
            None => "it wrote nothing to stderr; the next call starts a fresh worker".to_owned(),
        };
        PluginError::crashed(message).with_failure(failure).with_help(help)
    }

    /// What went wrong when it ended.
    pub(crate) fn trouble(&self) -> Option<String> {
        if !self.left.is_empty() {
            let pids: Vec<String> = self.left.iter().map(u32::to_string).collect();
            return Some(format!("these of its processes could not be ended: {}", pids.join(", ")));
        }
        self.guard_hung.then(|| "its guard hung, so the host ended its processes".to_owned())
    }

    /// The most useful line of stderr: the interpreter's own line about a fatal error, otherwise the last line that is not part of
    /// a stack.
    fn telling(&self) -> Option<&str> {
        let mut lines = self.stderr.lines().rev();
        let fatal = lines.clone().find(|line| line.starts_with("Fatal Python error"));
        fatal.or_else(|| lines.find(|line| !line.starts_with([' ', '\t']))).or_else(|| self.stderr.lines().last())
    }
}

/// The last lines of a worker's stderr.
#[derive(Debug, Default)]
pub(crate) struct LastLines(Mutex<VecDeque<String>>);

impl LastLines {
    pub(crate) fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;

    use super::*;

    #[test]
    fn the_error_says_how_and_quotes_stderr() {
        let lines = LastLines::default();
        (0..80).for_each(|n| lines.push(&format!("line {n}")));
        let ending = Ending { signal: Some(11), stderr: lines.text(), ..Ending::default() };
        let error = ending.error("in the middle of a call");
        assert_eq!(error.code(), ErrorCode::Crashed);
        assert_eq!(error.message(), "the worker was killed by SIGSEGV in the middle of a call");
        assert_eq!(error.failure().unwrap().kind, "SIGSEGV");
        assert_eq!(error.failure().unwrap().traceback.lines().count(), LAST_LINES);
        assert!(error.help().unwrap().ends_with("line 79"));

        let error =
            Ending { signal: Some(9), out_of_memory: true, ..Ending::default() }.error("in the middle of a call");
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert_eq!(error.message(), "the kernel killed the worker in the middle of a call because memory ran out");

        let error = Ending { status: Some(3), ..Ending::default() }.error("before it was ready");
        assert_eq!(error.message(), "the worker exited with status 3 before it was ready");

        let ended = |because| Ending { because: Some(because), signal: Some(9), ..Ending::default() }.error("early");
        let error = ended(EndReason::DidNotStop);
        assert_eq!(error.code(), ErrorCode::Interrupted);
        assert!(error.message().ends_with("early: another call in it did not stop when it was interrupted"), "{error}");
        assert!(error.help().unwrap().starts_with("call again"));
        assert_eq!(ended(EndReason::BrokeProtocol).code(), ErrorCode::Crashed);

        let ending = Ending { status: Some(3), guard_hung: true, ..Ending::default() };
        assert!(ending.error("early").message().ends_with("early; its guard hung, so the host ended its processes"));
        let error = Ending { left: vec![5, 6], ..ending }.error("early");
        assert!(error.message().ends_with("these of its processes could not be ended: 5, 6"), "{error}");
    }
}
