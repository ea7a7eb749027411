//! Standard error: shared by messages, log records and progress bars, none of which may break the others' lines.

use std::io::{self, IsTerminal as _, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};

use super::pipe::say;
use super::text::{indented, printable};

/// Standard error. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    is_terminal: bool,
    shows_bars: bool,
}

impl Screen {
    pub(super) fn new(no_progress: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_smart = is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let shows_bars = is_smart && !no_progress;
        let target = if shows_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), is_terminal: is_smart, shows_bars }
    }

    /// The progress bars; none where there is no terminal to draw them on.
    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        self.shows_bars.then_some(&self.bars)
    }

    /// Does something with the bars out of the way.
    pub(super) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.shows_bars { self.bars.suspend(work) } else { work() }
    }

    /// Writes a line (or several), fit for a terminal.
    pub(crate) fn line(&self, line: &str) {
        self.write_line(&printable(line));
    }

    /// Nothing can be done where nobody reads it.
    fn write_line(&self, line: &str) {
        self.suspend(|| say(format!("{line}\n").as_bytes()));
    }

    /// Writes a message of the program's own.
    pub(crate) fn note(&self, message: &str) {
        self.line(&format!("bivium: {message}"));
    }

    /// Writes text that matters less, dimmed on a terminal.
    pub(super) fn dimmed(&self, text: &str) {
        let text = printable(text);
        if self.is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) {
            self.write_line(&format!("\u{1b}[2m{text}\u{1b}[0m"));
        } else {
            self.write_line(&text);
        }
    }
}

/// For log records, each of which comes in one piece.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_line(&indented(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
