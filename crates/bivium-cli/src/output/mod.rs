//! The program's output: results on standard output, everything else on standard error.
//!
//! Much of the text comes from plugins, and a plugin may be hostile. Control characters and invisible characters are escaped before
//! text reaches a terminal (`text`), and no name from a plugin becomes a path (`result`).

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
use crate::failure::Failure;

pub(crate) use logging::start as start_logging;
pub(crate) use progress::{Bars, follow};
pub(crate) use result::ResultFiles;
pub(crate) use screen::Screen;
pub(crate) use table::Table;
pub(crate) use text::{counted, indented, on_one_line, short};

/// How long the reader of a result may take once the program has been asked to stop.
const LAST_READ: Duration = Duration::from_millis(200);

/// Where the program writes, and in which format.
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

    /// From now on, once the token is cancelled, the program does not wait for a reader of its results.
    pub(crate) fn stops_with(&self, token: &CancellationToken) {
        // Set only once, because a program has one host.
        let _ = self.stop.set(token.clone());
    }

    /// Standard error.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Whether the output is JSON, for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result: indented for people, or on one line for programs.
    pub(crate) fn value(&self, value: &Value) -> Result<(), Failure> {
        self.line(&text::json(value, !self.is_json()))
    }

    /// Prints one of several results, on one line.
    pub(crate) async fn chunk(&self, value: &Value) -> Result<(), Failure> {
        self.print(&text::json(value, false)).await
    }

    /// Prints a line (or several), escaped for a terminal. Waits for the reader, unless the program has been asked to stop.
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
                () = stopped => Err(PluginError::cancelled("the program was stopped before its result was read").into()),
            }
        };
        block_in_place(|| runtime.block_on(print))
    }

    /// Prints a line (or several), escaped for a terminal. Ready once all of it is written.
    pub(crate) async fn print(&self, line: &str) -> Result<(), Failure> {
        let text = format!("{}\n", text::printable(line));
        // Progress bars matter only if standard output is a terminal too.
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

    /// Shows a hint on standard error, in text format and without `--quiet`.
    pub(crate) fn hint(&self, hint: &str) {
        if !self.quiet && !self.is_json() {
            self.screen.line(hint);
        }
    }

    /// Shows a warning on standard error, in text format and without `--quiet`.
    pub(crate) fn warning(&self, error: &PluginError) {
        if !self.quiet && !self.is_json() {
            error::warn(error, &self.screen);
        }
    }

    /// Shows a warning that a plugin may not be the one that the user expects. It is shown in every format.
    pub(crate) fn caution(&self, error: &PluginError) {
        if self.is_json() {
            tracing::warn!("{error}");
        } else {
            self.warning(error);
        }
    }

    /// Shows why the command failed.
    pub(crate) fn error(&self, error: &PluginError) {
        if self.is_json() {
            self.screen.line(&error::json(error));
        } else {
            error::show(error, &self.screen);
        }
    }

    /// Shows why the command line is wrong.
    pub(crate) fn usage_error(&self, message: &str) {
        self.screen.marked("bivium:", screen::Style::Error, &format!("{message}; see `bivium help`"));
    }
}
