//! Standard error: shared by messages, log records and progress bars, none of which may break the others' lines.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};
use tokio::sync::watch;

use super::pipe::say;
use super::text::{indented, printable};

/// How often a second bars are drawn at most.
const FRAMES: u8 = 20;
/// Columns at the right that no bar fills. A terminal echoes `^C` behind the bar; in the last column it would begin a line of its
/// own, and the one above would stay.
const MARGIN: u16 = 6;
/// How long the bars may take to go when the program ends at once.
const LAST_DRAW: Duration = Duration::from_millis(100);
/// As many lines of plugins are remembered: an error has fewer of the last ones.
const REMEMBERED: usize = 200;

/// Standard error. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    is_terminal: bool,
    shows_bars: bool,
    /// What is being done for the plugin whose bar is shown.
    phase: watch::Sender<String>,
    /// The last lines of plugins' standard error that were shown.
    said: Arc<Mutex<VecDeque<String>>>,
}

/// How text stands out on a terminal. Errors and warnings have the colours that clap gives them.
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

    /// The progress bars; none where there is no terminal to draw them on.
    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        self.shows_bars.then_some(&self.bars)
    }

    /// Notes what a plugin wrote to its standard error and was shown.
    pub(super) fn remember(&self, lines: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines.lines() {
            if said.len() == REMEMBERED {
                said.pop_front();
            }
            said.push_back(line.to_owned());
        }
    }

    /// Whether plugins wrote all these lines and they were shown.
    pub(super) fn has_shown(&self, lines: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        lines.lines().all(|line| said.iter().any(|said| said == line))
    }

    /// Says what is being done now, where a bar shows it. Whether one does.
    pub(crate) fn phase(&self, phase: &str) -> bool {
        self.phase.send(phase.to_owned()).is_ok()
    }

    /// What is being done, from now on.
    pub(super) fn phases(&self) -> watch::Receiver<String> {
        self.phase.subscribe()
    }

    /// Takes the bars away for good, unless the terminal is stopped.
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

    /// Writes a line (or several) whose first words are in colour where there is colour.
    pub(super) fn marked(&self, mark: &str, style: Style, line: &str) {
        self.write_line(&format!("{} {}", self.styled(mark, style), printable(line)));
    }

    /// Writes a warning of the program's own.
    pub(super) fn warning(&self, message: &str) {
        self.marked("bivium: warning:", Style::Warning, message);
    }

    /// Writes text that matters less, dimmed where there is colour.
    pub(super) fn dimmed(&self, text: &str) {
        self.write_line(&self.styled(&printable(text), Style::Dim));
    }

    fn styled(&self, text: &str, style: Style) -> String {
        let has_colour = self.is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        if has_colour { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
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

/// A terminal that bars take for a narrower one.
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
