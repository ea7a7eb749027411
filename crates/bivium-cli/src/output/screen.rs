//! Standard error. Messages, log records and progress bars share it, and do not break each other's lines.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};
use tokio::sync::watch;

use super::pipe::print_error;
use super::text::{indented, printable};

/// How often bars are drawn per second, at most.
const FRAMES: u8 = 20;
/// The number of columns at the right that bars leave empty. A terminal echoes `^C` behind a bar; in the last column that would start a
/// new line, and the bar above it would not be removed.
const MARGIN: u16 = 6;
/// How long removing the bars may take when the program ends at once.
const LAST_DRAW: Duration = Duration::from_millis(100);
/// How many lines of plugins are remembered. An error repeats fewer lines than this.
const REMEMBERED: usize = 200;

/// Standard error. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    is_terminal: bool,
    shows_bars: bool,
    /// The current phase of the plugin whose bar is shown.
    phase: watch::Sender<String>,
    /// The last lines of plugins' standard error that were shown.
    said: Arc<Mutex<VecDeque<String>>>,
}

/// Styles of text on a terminal. Errors and warnings have the same colours as in clap.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Error,
    Warning,
    Dim,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Dim => "2",
        }
    }
}

impl Screen {
    pub(super) fn new(no_progress: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_smart = is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let shows_bars = is_smart && !no_progress;
        let target = if shows_bars {
            ProgressDrawTarget::term_like_with_hz(Box::new(Narrow(Term::buffered_stderr())), FRAMES)
        } else {
            ProgressDrawTarget::hidden()
        };
        let (bars, phase) = (MultiProgress::with_draw_target(target), watch::Sender::default());
        Self { bars, is_terminal: is_smart, shows_bars, phase, said: Arc::default() }
    }

    /// The progress bars; `None` if there is no terminal to draw them on.
    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        self.shows_bars.then_some(&self.bars)
    }

    /// Remembers lines of a plugin's standard error that were shown.
    pub(super) fn remember(&self, lines: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines.lines() {
            if said.len() == REMEMBERED {
                said.pop_front();
            }
            said.push_back(line.to_owned());
        }
    }

    /// Whether all these lines came from plugins and were shown.
    pub(super) fn has_shown(&self, lines: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        lines.lines().all(|line| said.iter().any(|said| said == line))
    }

    /// Sets the current phase. Returns whether a bar shows it.
    pub(crate) fn phase(&self, phase: &str) -> bool {
        self.phase.send(phase.to_owned()).is_ok()
    }

    /// Receives each new phase.
    pub(super) fn phases(&self) -> watch::Receiver<String> {
        self.phase.subscribe()
    }

    /// Removes the bars for good, unless the terminal does not take output.
    pub(crate) fn end_bars(&self) {
        if !self.shows_bars {
            return;
        }
        let (bars, (sender, cleared)) = (self.bars.clone(), mpsc::channel());
        let clear = move || {
            let done = bars.clear();
            bars.set_draw_target(ProgressDrawTarget::hidden());
            let _ = sender.send(done);
        };
        if std::thread::Builder::new().spawn(clear).is_ok() {
            let _ = cleared.recv_timeout(LAST_DRAW);
        }
    }

    /// Runs `work` while the bars are hidden.
    pub(super) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.shows_bars { self.bars.suspend(work) } else { work() }
    }

    /// Writes a line (or several), escaped for a terminal.
    pub(crate) fn line(&self, line: &str) {
        self.write_line(&printable(line));
    }

    /// Writes a line. Errors are ignored: there is no other place to report them.
    fn write_line(&self, line: &str) {
        self.suspend(|| print_error(format!("{line}\n").as_bytes()));
    }

    /// Writes a message of the program itself.
    pub(crate) fn note(&self, message: &str) {
        self.line(&format!("bivium: {message}"));
    }

    /// Writes a line (or several) that begins with `mark`, in the colour of `style` if colours are used.
    pub(super) fn marked(&self, mark: &str, style: Style, line: &str) {
        self.write_line(&format!("{} {}", self.styled(mark, style), printable(line)));
    }

    /// Writes a warning of the program itself.
    pub(super) fn warning(&self, message: &str) {
        self.marked("bivium: warning:", Style::Warning, message);
    }

    /// Writes less important text, dimmed if colours are used.
    pub(super) fn dimmed(&self, text: &str) {
        self.write_line(&self.styled(&printable(text), Style::Dim));
    }

    fn styled(&self, text: &str, style: Style) -> String {
        let has_colour = self.is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        if has_colour { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
    }
}

/// For log records. Each record comes in one call of `write`.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_line(&indented(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A terminal that reports a smaller width, so that bars leave columns empty.
#[derive(Debug)]
struct Narrow(Term);

impl TermLike for Narrow {
    fn width(&self) -> u16 {
        let width = self.0.size().1;
        if width > 2 * MARGIN { width - MARGIN } else { width }
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
