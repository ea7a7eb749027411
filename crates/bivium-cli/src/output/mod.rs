//! What the program says: results on standard output, everything else on standard error.
//!
//! Plugins write much of what is shown here, and a plugin may be hostile: nothing of theirs reaches a terminal with its
//! control characters or others that are not seen (`text`), and no name of theirs becomes a path (`result`).

mod error;
mod logging;
mod pipe;
mod progress;
mod result;
mod screen;
mod table;
mod text;

use std::io::{self, ErrorKind, IsTerminal as _};
use std::sync::OnceLock;
use std::time::Duration;

use bivium::{CancellationToken, PluginError};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::args::{Format, Global};
use crate::exit::Failure;

pub(crate) use logging::start as start_logging;
pub(crate) use progress::{Bars, follow};
pub(crate) use result::Shelf;
pub(crate) use screen::Screen;
pub(crate) use table::Table;
pub(crate) use text::{indented, on_one_line, short};

/// How long a result may take to be read once the program is to stop.
const LAST_READ: Duration = Duration::from_millis(200);

/// Where everything is said, and how.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    screen: Screen,
    stop: OnceLock<CancellationToken>,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            format: global.output,
            quiet: global.quiet,
            screen: Screen::new(global.no_progress),
            stop: OnceLock::new(),
        }
    }

    /// From now on a result that nobody reads does not hold up the program once the token is cancelled.
    pub(crate) fn stops_with(&self, token: &CancellationToken) {
        // Set once: a program has one host.
        let _ = self.stop.set(token.clone());
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
    pub(crate) async fn chunk(&self, value: &Value) -> Result<(), Failure> {
        self.print(&text::json(value, false)).await
    }

    /// Prints a line (or several), fit for a terminal, and lets it go out. Waits for whoever reads it, unless the program is to stop.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        let Ok(runtime) = Handle::try_current() else {
            return Err(PluginError::internal("a result is printed after the program's end").into());
        };
        let stopped = async {
            match self.stop.get() {
                Some(stop) => stop.cancelled().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(LAST_READ).await;
        };
        let print = async {
            tokio::select! {
                biased;
                printed = self.print(line) => printed,
                () = stopped => Err(PluginError::cancelled("nobody reads the result, and the program was stopped").into()),
            }
        };
        block_in_place(|| runtime.block_on(print))
    }

    /// Prints a line (or several), fit for a terminal. Ready once it is read, or lies where it will be.
    pub(crate) async fn print(&self, line: &str) -> Result<(), Failure> {
        let text = format!("{}\n", text::printable(line));
        // Bars are in the way only of what is shown where they are.
        let has_bars = self.screen.bars().is_some() && io::stdout().is_terminal();
        let printed = match has_bars {
            true => self.screen.suspend(|| pipe::print_now(&text)),
            false => pipe::print(text).await,
        };
        printed.map_err(|error| match error.kind() {
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

    /// Says that something is not as it should be, though the command goes on, to people who want to hear it.
    pub(crate) fn warning(&self, error: &PluginError) {
        if !self.quiet && !self.is_json() {
            error::warn(error, &self.screen);
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
            error::show(error, &self.screen);
        }
    }

    /// Says why the command line makes no sense.
    pub(crate) fn usage_error(&self, message: &str) {
        self.screen.marked("bivium:", screen::Style::Error, &format!("{message}; see `bivium help`"));
    }
}
