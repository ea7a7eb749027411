//! [`PluginError`]: the one error type. Its stable code is the same on both sides of every boundary.
//!
//! Like `std::io::Error` it is a struct with an [`ErrorCode`], not an enum with data in its variants. So every error can name its
//! plugin and its call and say what to do, and a new code breaks no caller. [`serde`] writes it as JSON in the same form for HTTP
//! and for the program.

use std::{fmt, io};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call_id::CallId;
use crate::{clip, head};

/// The result of a fallible operation on a plugin.
pub type Result<T, E = PluginError> = std::result::Result<T, E>;

/// The kind of error. The kebab-case names are stable: they are the cases of the WIT variant and the `code` of a worker's reply and of
/// HTTP problem details, and they decide the program's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// There is no such plugin, method, blob or file.
    NotFound,
    /// A manifest is not valid; [`PluginError::problems`] lists every reason.
    InvalidManifest,
    /// A configuration is not valid; the previous one stays in use.
    InvalidConfig,
    /// A call's arguments are not valid.
    InvalidInput,
    /// A permission is missing.
    Denied,
    /// A limit or quota has been reached.
    ResourceExhausted,
    /// A deadline passed.
    Timeout,
    /// The call was cancelled.
    Cancelled,
    /// The plugin's own error; [`PluginError::failure`] has its type, message and traceback.
    PluginFailed,
    /// The instance ended unexpectedly: a trap, a signal, an exit.
    Crashed,
    /// The host ended the instance, but not because of this call: another call in the same instance could not be stopped, for example.
    /// The call may be tried again.
    Interrupted,
    /// The plugin cannot take calls at the moment.
    Unavailable,
    /// The other side violated the protocol.
    Protocol,
    /// A fault of Bivium or of the machine.
    Internal,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 14] = [
        Self::NotFound,
        Self::InvalidManifest,
        Self::InvalidConfig,
        Self::InvalidInput,
        Self::Denied,
        Self::ResourceExhausted,
        Self::Timeout,
        Self::Cancelled,
        Self::PluginFailed,
        Self::Crashed,
        Self::Interrupted,
        Self::Unavailable,
        Self::Protocol,
        Self::Internal,
    ];

    /// The stable name, for example `plugin-failed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::InvalidManifest => "invalid-manifest",
            Self::InvalidConfig => "invalid-config",
            Self::InvalidInput => "invalid-input",
            Self::Denied => "denied",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::PluginFailed => "plugin-failed",
            Self::Crashed => "crashed",
            Self::Interrupted => "interrupted",
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }

    /// The code with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The plugin's own error, as its language reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The type's name, for example `ValueError`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The error's message.
    pub message: String,
    /// The traceback or chain of causes; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceback: String,
    /// Data of the error beside its message. Errors of cjm-plugin-system have `category`, `retriable`, `fields_invalid`,
    /// `resource_shortfall` and `retry_after_seconds`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl Failure {
    /// The longest type and message that a host stores, in bytes.
    pub const MAX_MESSAGE: usize = 8 << 10;
    /// The longest traceback that a host stores, in bytes.
    pub const MAX_TRACEBACK: usize = 64 << 10;
    /// The longest JSON of all details together, in bytes; of longer details the first are kept.
    pub const MAX_DETAILS: usize = 64 << 10;

    /// A failure with this type and this message.
    #[must_use]
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), ..Self::default() }
    }

    /// Sets the traceback.
    #[must_use]
    pub fn with_traceback(self, traceback: impl Into<String>) -> Self {
        Self { traceback: traceback.into(), ..self }
    }

    /// Sets the details.
    #[must_use]
    pub fn with_details(self, details: Map<String, Value>) -> Self {
        Self { details, ..self }
    }

    /// Cuts its texts to the lengths that a host stores.
    #[must_use]
    pub fn clipped(self) -> Self {
        let mut allowance = Allowance(Self::MAX_DETAILS);
        let details = self.details.into_iter();
        Self {
            kind: clip(self.kind, Self::MAX_MESSAGE),
            message: clip(self.message, Self::MAX_MESSAGE),
            traceback: clip(self.traceback, Self::MAX_TRACEBACK),
            details: details.take_while(|detail| serde_json::to_writer(&mut allowance, detail).is_ok()).collect(),
        }
    }
}

/// A writer that accepts this many bytes and discards them: it measures whether a value is short enough.
struct Allowance(usize);

impl io::Write for Allowance {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One of several problems, and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The place: a JSON Pointer into a configuration, or a line of a manifest (`line 4`).
    pub location: String,
    /// What is wrong there and how to correct it.
    pub message: String,
}

impl Problem {
    /// A problem at this place. An empty place means the whole document.
    #[must_use]
    pub fn new(location: impl Into<String>, message: impl Into<String>) -> Self {
        Self { location: location.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.location.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.location, self.message)
        }
    }
}

/// The step of a pipeline in which an error occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedStep {
    /// The step's id.
    pub id: String,
    /// The index of the item that the step ran for, from 0; none for a step without `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The beginning of that item's JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

/// An error: what went wrong, in which plugin and call, and what to do.
///
/// `Display` writes one sentence for a terminal or a log. To make an error, use the function that is named after its code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PluginError(Box<Report>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    code: ErrorCode,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<CallId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Problem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<FailedStep>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(ErrorCode::$code, message)
        }
    )*};
}

/// A key as a reference token of a JSON Pointer (RFC 6901), with `~` and `/` escaped.
#[must_use]
pub fn reference_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl PluginError {
    /// An error with this code. `message` is one clause in lower case, without the plugin's name and without a full stop.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            code,
            message: message.into(),
            plugin: None,
            call: None,
            help: None,
            failure: None,
            problems: Vec::new(),
            step: None,
        }))
    }

    constructors! {
        /// [`ErrorCode::NotFound`].
        not_found => NotFound;
        /// [`ErrorCode::InvalidManifest`].
        invalid_manifest => InvalidManifest;
        /// [`ErrorCode::InvalidConfig`].
        invalid_config => InvalidConfig;
        /// [`ErrorCode::InvalidInput`].
        invalid_input => InvalidInput;
        /// [`ErrorCode::Denied`].
        denied => Denied;
        /// [`ErrorCode::ResourceExhausted`].
        resource_exhausted => ResourceExhausted;
        /// [`ErrorCode::Timeout`].
        timeout => Timeout;
        /// [`ErrorCode::Cancelled`].
        cancelled => Cancelled;
        /// [`ErrorCode::Crashed`].
        crashed => Crashed;
        /// [`ErrorCode::Interrupted`].
        interrupted => Interrupted;
        /// [`ErrorCode::Unavailable`].
        unavailable => Unavailable;
        /// [`ErrorCode::Protocol`].
        protocol => Protocol;
        /// [`ErrorCode::Internal`].
        internal => Internal;
    }

    /// An error with the code [`ErrorCode::PluginFailed`] and the plugin's own error.
    #[must_use]
    pub fn plugin_failed(failure: Failure) -> Self {
        let message = match (failure.kind.as_str(), failure.message.as_str()) {
            ("", message) => message.to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, message) => format!("{kind}: {message}"),
        };
        let mut error = Self::new(ErrorCode::PluginFailed, message);
        error.0.failure = Some(failure);
        error
    }

    /// The error of a call whose deadline has passed.
    #[must_use]
    pub fn past_deadline() -> Self {
        Self::timeout("the call did not end before its deadline")
    }

    /// The error of a call whose plugin is being unloaded.
    #[must_use]
    pub fn unloading() -> Self {
        Self::cancelled("the call was cancelled: its plugin is being unloaded")
    }

    /// Names the plugin, unless one is named already.
    #[must_use]
    pub fn with_plugin(mut self, plugin: impl Into<String>) -> Self {
        self.0.plugin.get_or_insert_with(|| plugin.into());
        self
    }

    /// Names the call, unless one is named already.
    #[must_use]
    pub fn with_call(mut self, call: CallId) -> Self {
        self.0.call.get_or_insert(call);
        self
    }

    /// Says what to do, unless the error already says it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help.get_or_insert_with(|| help.into());
        self
    }

    /// Says what else to do.
    #[must_use]
    pub fn and_help(mut self, help: impl Into<String>) -> Self {
        let more = help.into();
        self.0.help = Some(match self.0.help.take() {
            Some(help) => format!("{help}; {more}"),
            None => more,
        });
        self
    }

    /// Replaces what the error says to do.
    pub(crate) fn replace_help(mut self, help: String) -> Self {
        self.0.help = Some(help);
        self
    }

    /// Attaches the plugin's own error.
    #[must_use]
    pub fn with_failure(mut self, failure: Failure) -> Self {
        self.0.failure = Some(failure);
        self
    }

    /// Names the step of a pipeline, and the item with its index if the step runs for several items, unless a step is named already. The
    /// message names them too.
    #[must_use]
    pub fn with_step(mut self, id: &str, item: Option<(usize, &Value)>) -> Self {
        if self.0.step.is_some() {
            return self;
        }
        let (index, item) = item.map(|(index, item)| (index, excerpt(item))).unzip();
        let at = match (&index, &item) {
            (Some(index), Some(item)) => format!("step {id:?}, item {index} ({item})"),
            _ => format!("step {id:?}"),
        };
        self.0.message = format!("{at}: {}", self.0.message);
        self.0.step = Some(FailedStep { id: id.to_owned(), index, item });
        self
    }

    /// Lists all problems.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.0.problems = problems;
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// What happened: one clause, without the plugin's name.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The plugin concerned.
    #[must_use]
    pub fn plugin(&self) -> Option<&str> {
        self.0.plugin.as_deref()
    }

    /// The call concerned.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        self.0.call
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The plugin's own error.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.0.failure.as_ref()
    }

    /// The step of a pipeline in which it happened.
    #[must_use]
    pub fn step(&self) -> Option<&FailedStep> {
        self.0.step.as_ref()
    }

    /// What `Display` gives, without the plugin's name: for where that is known.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.0.message.clone();
        for (n, problem) in self.0.problems.iter().enumerate() {
            text.push_str(if n == 0 { ": " } else { "; " });
            text.push_str(&problem.to_string());
        }
        if let Some(help) = &self.0.help {
            text.push_str("; ");
            text.push_str(help);
        }
        text
    }

    /// All problems, if there are several.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }
}

/// The beginning of a value's JSON text.
fn excerpt(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    let start = head(&text, LONGEST);
    if start.len() < text.len() { format!("{start}…") } else { text }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plugin) = &self.0.plugin {
            write!(f, "{plugin}: ")?;
        }
        f.write_str(&self.sentence())
    }
}

/// Like `Display`, because a `main` that returns the error and `unwrap` show this. `{:#?}` shows every field.
impl fmt::Debug for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { self.0.fmt(f) } else { fmt::Display::fmt(self, f) }
    }
}

impl std::error::Error for PluginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names_and_names_have_codes() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        assert_eq!(ErrorCode::from_name("nonsense"), None);
    }

    #[test]
    fn reads_as_one_sentence_and_survives_json() {
        let error = PluginError::invalid_config("the configuration does not fit the schema")
            .with_plugin("redact")
            .with_problems(vec![
                Problem { location: "/mask".into(), message: "must be a string".into() },
                Problem { location: String::new(), message: "patterns is missing".into() },
            ])
            .with_help("see `bivium config schema redact`");
        assert_eq!(
            error.to_string(),
            "redact: the configuration does not fit the schema: /mask: must be a string; patterns is missing; \
             see `bivium config schema redact`"
        );
        assert_eq!(format!("{error:?}"), error.to_string(), "what `main` and `unwrap` show");
        assert!(format!("{error:#?}").contains("InvalidConfig"));
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<PluginError>(&text).unwrap(), error);
    }

    #[test]
    fn the_first_name_given_stays() {
        let error = PluginError::timeout("too late").with_plugin("inner").with_plugin("outer");
        assert_eq!(error.plugin(), Some("inner"));
    }
}
