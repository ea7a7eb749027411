//! The messages between host and worker as types: `docs/worker-protocol.md` in Rust.

pub(crate) mod answer;
pub(crate) mod channel;
pub(crate) mod client;
pub(crate) mod denials;
#[cfg(test)]
mod written;

use std::collections::BTreeMap;

use bivium_instances::document;
use bivium_interface::manifest::{FilesystemPermission, Limits};
use bivium_interface::{CallId, ErrorCode, Failure, PluginError, clip, head};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The version of the protocol.
pub(crate) const PROTOCOL: u32 = 1;

/// The line that the host writes to the channel.
#[derive(Serialize)]
pub(crate) struct Settings<'a> {
    pub(crate) protocol: u32,
    pub(crate) token: &'a str,
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) module: &'a str,
    pub(crate) class: &'a str,
    /// The function that is the plugin, in place of a class. If both are given, the module decides whether the name is a class.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) function: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) init_args: &'a Map<String, Value>,
    pub(crate) source: Vec<&'a str>,
    pub(crate) exchange: &'a str,
    pub(crate) concurrency: u32,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_reply_bytes: usize,
    pub(crate) cancel_grace_s: f64,
    pub(crate) confined: bool,
    /// Its own empty directories, which replace directories of the host.
    pub(crate) private: &'a [&'a str],
    /// Whether a confined worker may look up host names.
    pub(crate) lookups: bool,
    /// The directories that a confined worker is granted.
    pub(crate) grants: &'a [FilesystemPermission],
    /// Added to the environment before the plugin is imported, so that they cannot be seen in /proc.
    pub(crate) secrets: BTreeMap<&'a str, &'a str>,
    pub(crate) limits: &'a Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<&'a str>,
    /// What only plugins of one kind are told, each under its own key.
    #[serde(flatten)]
    pub(crate) extras: &'a Map<String, Value>,
}

/// A line that the worker or its guard writes to the channel.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum ChannelEvent {
    Ready {
        protocol: u32,
        pid: u32,
    },
    Failed {
        error: WireError,
    },
    Log {
        level: String,
        logger: String,
        message: String,
        call: Option<String>,
    },
    Exit {
        status: Option<i32>,
        signal: Option<i32>,
        #[serde(default)]
        left: u32,
    },
    /// An event of a newer worker.
    #[serde(other)]
    Other,
}

/// An error, as a worker reports it.
#[derive(Debug, Deserialize)]
pub(crate) struct WireError {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    traceback: Option<String>,
    #[serde(default)]
    help: Option<String>,
    #[serde(default, deserialize_with = "details")]
    details: Map<String, Value>,
    /// What a confined plugin was denied, if that caused the error.
    #[serde(default)]
    pub(crate) denied: Option<WireDenial>,
}

/// What a confined plugin was denied, as a worker reports it.
#[derive(Debug, Deserialize)]
pub(crate) struct WireDenial {
    #[serde(default)]
    pub(crate) permission: String,
    #[serde(default)]
    pub(crate) resource: String,
}

fn details<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match document::counted(deserializer)? {
        Value::Object(details) => Ok(details),
        _ => Err(D::Error::custom("details that are not an object")),
    }
}

impl From<WireError> for PluginError {
    fn from(mut error: WireError) -> Self {
        let help = error.help.take();
        let told = told(error);
        match help {
            Some(help) => told.with_help(clip(help, Failure::MAX_MESSAGE)),
            None => told,
        }
    }
}

fn told(error: WireError) -> PluginError {
    let Some(code) = ErrorCode::from_name(&error.code) else {
        return PluginError::protocol(format!("the worker sent the unknown error code {:?}", head(&error.code, 80)));
    };
    // The error has a message, whatever the worker has left out.
    let Some(kind) = error.kind.filter(|kind| !kind.is_empty()) else {
        let is_silent = error.message.trim().is_empty();
        let message = if is_silent { "the worker did not say why".to_owned() } else { error.message };
        return PluginError::new(code, clip(message, Failure::MAX_MESSAGE));
    };
    let traceback = error.traceback.unwrap_or_default();
    let failure = Failure::new(kind, error.message).with_traceback(traceback).with_details(error.details).clipped();
    match code {
        // The worker's own sentence with the plugin's error contains its type already.
        ErrorCode::PluginFailed if !failure.message.contains(&failure.kind) => PluginError::plugin_failed(failure),
        _ if failure.message.trim().is_empty() => PluginError::new(code, failure.kind.clone()).with_failure(failure),
        _ => PluginError::new(code, failure.message.clone()).with_failure(failure),
    }
}

/// The body of `/execute` and `/execute_stream`.
#[derive(Debug, Serialize)]
pub(crate) struct CallRequest<'a> {
    pub(crate) call: CallId,
    pub(crate) method: &'a str,
    pub(crate) args: &'a [Value],
    pub(crate) kwargs: &'a Map<String, Value>,
    pub(crate) blobs: Vec<LentBlob<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) envelope: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_s: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unary: bool,
}

/// Replaces a long request, which is in a file.
#[derive(Debug, Serialize)]
pub(crate) struct SpilledRequest<'a> {
    pub(crate) call: CallId,
    pub(crate) spilled: LentBlob<'a>,
}

/// A blob of a request.
#[derive(Debug, Serialize)]
pub(crate) struct LentBlob<'a> {
    pub(crate) path: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) size: u64,
}

/// The body of `/initialize`, `/cleanup` and the other requests to the plugin that are not calls.
#[derive(Debug, Serialize)]
pub(crate) struct HookRequest<'a> {
    pub(crate) call: CallId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<&'a Value>,
}

/// A result: the reply to a successful unary request, and the payload of a chunk.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    /// The result; `null` is a result as well.
    #[serde(default, alias = "json", deserialize_with = "present")]
    pub(crate) result: Option<Value>,
    /// The file with a long result, in place of `result`.
    pub(crate) spilled: Option<SpilledReply>,
    #[serde(default, deserialize_with = "document::list")]
    pub(crate) blobs: Vec<WireBlob>,
}

/// A file beneath the worker's part of the exchange.
#[derive(Debug, Deserialize)]
pub(crate) struct SpilledReply {
    pub(crate) path: String,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    document::counted(deserializer).map(Some)
}

/// The reply to a request that failed.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorReply {
    pub(crate) error: WireError,
}

/// A blob of a reply: one of the call's blobs (`lent`), or a file beneath the worker's part of the exchange.
#[derive(Debug, Deserialize)]
pub(crate) struct WireBlob {
    pub(crate) lent: Option<usize>,
    pub(crate) path: Option<String>,
    pub(crate) media_type: Option<String>,
}

/// A line of a streaming reply. One struct and not an enum: serde reads an internally tagged enum twice.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamEvent {
    pub(crate) event: EventKind,
    pub(crate) payload: Option<Reply>,
    pub(crate) error: Option<WireError>,
    pub(crate) fraction: Option<f64>,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventKind {
    Chunk,
    Progress,
    Error,
    Done,
}

/// The reply to `/methods`.
#[derive(Debug, Deserialize)]
pub(crate) struct Methods {
    pub(crate) methods: Vec<bivium_interface::MethodInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_code_and_the_plugins_own_words() {
        let read = |json: &str| PluginError::from(serde_json::from_str::<WireError>(json).unwrap());
        let error = read(r#"{"code": "plugin-failed", "message": "bad", "type": "ValueError", "traceback": "T"}"#);
        assert_eq!((error.code(), error.message()), (ErrorCode::PluginFailed, "ValueError: bad"));
        assert_eq!(error.failure().unwrap().traceback, "T");
        let error = read(
            r#"{"code": "plugin-failed", "message": "importing 'x' failed: ImportError: y", "type": "ImportError"}"#,
        );
        assert_eq!(error.message(), "importing 'x' failed: ImportError: y");
        let error = read(r#"{"code": "not-found", "message": "no method"}"#);
        assert_eq!((error.code(), error.message()), (ErrorCode::NotFound, "no method"));
        assert_eq!(read(r#"{"code": "odd"}"#).code(), ErrorCode::Protocol);
        // Found by fuzzing: an error without a message.
        assert_eq!(read(r#"{"code": "denied"}"#).message(), "the worker did not say why");
        assert_eq!(read(r#"{"code": "denied", "message": " ", "type": "OSError"}"#).message(), "OSError");
        assert_eq!(read(r#"{"code": "plugin-failed", "type": ""}"#).message(), "the worker did not say why");
        let error = read(r#"{"code": "denied", "message": "no", "type": "PermissionError", "help": "grant it"}"#);
        assert_eq!((error.code(), error.help()), (ErrorCode::Denied, Some("grant it")));
        let error = read(
            r#"{"code": "invalid-input", "message": "no file", "type": "E", "details": {"fields_invalid": ["a"]}}"#,
        );
        assert_eq!(error.failure().unwrap().details["fields_invalid"], serde_json::json!(["a"]));
    }

    #[test]
    fn no_more_of_an_error_is_kept_than_a_host_keeps() {
        let long = "é".repeat(1 << 20);
        let error = serde_json::json!({
            "code": "plugin-failed", "message": long, "type": long, "traceback": long, "help": long,
            "details": {"short": 1, "long": long, "more": 2},
        });
        let error = PluginError::from(serde_json::from_value::<WireError>(error).unwrap());
        let failure = error.failure().unwrap();
        for (text, most) in [(&failure.message, Failure::MAX_MESSAGE), (&failure.traceback, Failure::MAX_TRACEBACK)] {
            assert!(text.len() <= most && text.capacity() <= 2 * most, "{} of {}", text.len(), text.capacity());
        }
        assert_eq!(failure.details, Map::from_iter([("short".to_owned(), 1.into())]), "the first ones, as many as fit");
        assert!(error.message().len() <= 3 * Failure::MAX_MESSAGE);
        assert!(error.help().unwrap().len() <= Failure::MAX_MESSAGE);
        let error = serde_json::json!({"code": "not-found", "message": "é".repeat(1 << 20)});
        let error = PluginError::from(serde_json::from_value::<WireError>(error).unwrap());
        assert!(error.message().len() <= Failure::MAX_MESSAGE);
    }

    #[test]
    fn channel_events_are_read_and_unknown_ones_passed_over() {
        let read = |json: &str| serde_json::from_str::<ChannelEvent>(json);
        let ready = r#"{"event": "ready", "protocol": 1, "port": 5, "pid": 7, "python": "3.9.1"}"#;
        assert!(matches!(read(ready), Ok(ChannelEvent::Ready { protocol: 1, pid: 7 })));
        assert!(matches!(read(r#"{"event": "exit", "status": null, "signal": 9}"#), Ok(ChannelEvent::Exit { .. })));
        assert!(matches!(read(r#"{"event": "later"}"#), Ok(ChannelEvent::Other)));
        assert!(read("garbage").is_err());
    }
}
