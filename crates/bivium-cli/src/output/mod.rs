//! What the program says: results on standard output, everything else on standard error.
//!
//! Plugins write much of what is shown here, and a plugin may be hostile: nothing of theirs reaches a terminal with its
//! control characters or others that are not seen (`text`), and no name of theirs becomes a path (`result`).

mod error;
mod logging;
mod progress;
mod result;
mod screen;
mod table;
mod text;

use std::io::{self, ErrorKind, Write as _};

use bivium::PluginError;
use serde_json::Value;

use crate::args::{Format, Global};
use crate::exit::Failure;

pub(crate) use logging::start as start_logging;
pub(crate) use progress::{Bars, follow};
pub(crate) use result::Shelf;
pub(crate) use screen::Screen;
pub(crate) use table::Table;
pub(crate) use text::{indented, on_one_line};

/// Where everything is said, and how.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    screen: Screen,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self { format: global.output, quiet: global.quiet, screen: Screen::new(global.no_progress) }
    }

    /// Standard error.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Whether programs read it.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result: laid out for people, or on one line for programs.
    pub(crate) fn value(&self, value: &Value) -> Result<(), Failure> {
        self.line(&text::json(value, !self.is_json()))
    }

    /// Prints one of several results, on one line.
    pub(crate) fn chunk(&self, value: &Value) -> Result<(), Failure> {
        self.line(&text::json(value, false))
    }

    /// Prints a line (or several), fit for a terminal, and lets it go out.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        let line = text::printable(line);
        let write = || {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        };
        self.screen.suspend(write).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => PluginError::internal(format!("cannot write to standard output: {error}")).into(),
        })
    }

    /// Says something by the way, on standard error, to people who want to hear it.
    pub(crate) fn hint(&self, hint: &str) {
        if !self.quiet && !self.is_json() {
            self.screen.line(hint);
        }
    }

    /// Says that something is not as it should be, though the command goes on.
    pub(crate) fn warning(&self, error: &PluginError) {
        if !self.is_json() {
            error::show(error, "bivium: warning:", &self.screen);
        }
    }

    /// The same where somebody may have put a plugin in the user's way: it is said in every format.
    pub(crate) fn caution(&self, error: &PluginError) {
        if self.is_json() {
            tracing::warn!("{error}");
        } else {
            self.warning(error);
        }
    }

    /// Says why the command failed.
    pub(crate) fn error(&self, error: &PluginError) {
        if self.is_json() {
            self.screen.line(&error::json(error));
        } else {
            error::show(error, "bivium:", &self.screen);
        }
    }

    /// Says why the command line makes no sense.
    pub(crate) fn usage_error(&self, message: &str) {
        self.screen.note(&format!("{message}; see `bivium help`"));
    }
}
