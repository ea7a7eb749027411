//! Log records of the library and of plugins, on standard error.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt as format};

use super::Screen;
use super::text::{indented, on_one_line};
use crate::args::{Format, Global};

/// The target of plugins' log records.
const PLUGIN: &str = "bivium::plugin";

/// Starts logging. Shows warnings, unless the options ask for more or less. If `BIVIUM_LOG` is set, it decides.
pub(crate) fn start(global: &Global, screen: &Screen) {
    // Details of other crates would not help the user. All crates of the project have names that begin with `bivium`.
    let default = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "warn,bivium=info",
        (false, 2) => "warn,bivium=debug",
        (false, _) => "warn,bivium=trace",
    };
    let asked = std::env::var_os("BIVIUM_LOG").filter(|filter| !filter.is_empty());
    let shows_notes = asked.is_none() && default == "warn" && global.output == Format::Text;
    // Notes show the plugins' records and the host's records about plugins, so the log need not show them too.
    let default = if shows_notes { "warn,bivium::plugin=off" } else { default };
    let (filter, wrong) = match asked.as_deref().map(read) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default), Some(error)),
        None => (EnvFilter::new(default), None),
    };
    let writer = screen.clone();
    let records = format::layer()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .log_internal_errors(false)
        .with_filter(filter);
    let asked = global.log_level.map(Level::from);
    let least = asked.unwrap_or(Level::INFO).max(Level::INFO);
    let is_note = filter_fn(move |event| event.target() == PLUGIN && *event.level() <= least);
    let notes = Notes { screen: screen.clone(), shows_logs: asked.is_some() };
    let notes = shows_notes.then(|| notes.with_filter(is_note));
    tracing_subscriber::registry().with(records).with(notes).init();
    if let Some(level) = &global.wrong_log_level {
        tracing::warn!(?level, "BIVIUM_PLUGIN_LOG is not a level; the levels are trace, debug, info, warn and error");
    }
    if let Some(error) = wrong {
        tracing::warn!(error, "BIVIUM_LOG is not a valid filter");
    }
}

fn read(filter: &OsStr) -> Result<EnvFilter, String> {
    let filter = filter.to_str().ok_or("it is not UTF-8")?;
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

/// Shows notes to users who did not ask for log records: work of the host for a plugin that may take long (making an environment,
/// compiling), warnings of the host and of the plugin, and everything that the plugin prints. If a level was asked for, it also
/// shows the plugin's other records.
struct Notes {
    screen: Screen,
    shows_logs: bool,
}

impl<S: Subscriber> Layer<S> for Notes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut note = Note::default();
        event.record(&mut note);
        let Note { plugin, source, message } = note;
        let level = *event.metadata().level();
        let is_warning = level <= Level::WARN;
        match source.as_str() {
            "Host" if is_warning => self.screen.warning(&on_one_line(&format!("{plugin}: {message}"))),
            // If there is a progress bar, it shows the message.
            "Host" if level == Level::INFO && !self.screen.phase(&message) => {
                self.screen.line(&on_one_line(&format!("{plugin}: {message}")));
            }
            // Marked, so that a plugin's line cannot look like one of the host.
            "Stdout" | "Stderr" => {
                self.screen.line(&format!("{plugin} | {}", indented(&message)));
                if source == "Stderr" {
                    self.screen.remember(&message);
                }
            }
            "Log" if self.shows_logs || is_warning => {
                let level = level.as_str().to_ascii_lowercase();
                self.screen.line(&format!("{plugin} | {level}: {}", indented(&message)));
            }
            _ => {}
        }
    }
}

/// The fields of a log record that are shown in a note.
#[derive(Default)]
struct Note {
    plugin: String,
    source: String,
    message: String,
}

impl Visit for Note {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let part = match field.name() {
            "plugin" => &mut self.plugin,
            "source" => &mut self.source,
            "message" => &mut self.message,
            _ => return,
        };
        // Writing to a string cannot fail.
        let _ = write!(part, "{value:?}");
    }
}
