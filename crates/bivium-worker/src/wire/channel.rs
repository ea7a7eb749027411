//! The channel's events: the handshake, log records, and the guard's report of the end.

use std::str::FromStr;
use std::sync::Arc;

use bivium_interface::{CallId, LogLevel, LogSource, PluginError};
use bivium_records::InstanceLog;
use tokio::io::{AsyncRead, BufReader};
use tokio::sync::oneshot;

use crate::process::lines::Lines;
use crate::wire::denials::Denials;
use crate::wire::{ChannelEvent, PROTOCOL};

/// The longest line. A handshake's error may contain a long traceback; the log itself cuts its records shorter.
const LONGEST_LINE: usize = 1 << 20;

/// The message of a worker that is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// The worker's own id: in a PID namespace of its own this is not the id that the host sees.
    pub(crate) pid: u32,
}

pub(crate) type Handshake = oneshot::Sender<Result<Ready, PluginError>>;

/// How the worker ended, as its guard reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) status: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Processes that the guard could not end.
    pub(crate) left: u32,
}

/// Reads events until the channel closes or the guard has reported the end.
pub(crate) async fn listen(
    channel: impl AsyncRead + Unpin,
    handshake: Handshake,
    log: Arc<InstanceLog>,
    denials: Denials,
) -> Option<Exit> {
    let mut lines = Lines::new(BufReader::new(channel), LONGEST_LINE);
    let mut handshake = Some(handshake);
    while let Some(line) = lines.next().await {
        match serde_json::from_slice(&line) {
            Ok(ChannelEvent::Ready { protocol: PROTOCOL, pid }) => {
                finish_handshake(&mut handshake, || Ok(Ready { pid }))
            }
            Ok(ChannelEvent::Ready { protocol, .. }) => finish_handshake(&mut handshake, || {
                let message = format!("the worker speaks protocol version {protocol}, this host {PROTOCOL}");
                Err(PluginError::protocol(message))
            }),
            Ok(ChannelEvent::Failed { error }) => {
                finish_handshake(&mut handshake, || Err(denials.recorded(None, error)))
            }
            Ok(ChannelEvent::Log { level, logger, message, call }) => {
                let call = call.and_then(|call| CallId::from_str(&call).ok());
                log.push(level_of(&level), LogSource::Log, call, &format!("{logger}: {message}"));
            }
            Ok(ChannelEvent::Exit { status, signal, left }) => return Some(Exit { status, signal, left }),
            Ok(ChannelEvent::Other) => {}
            // The guard starts with a new line, as the worker may have died in the middle of one.
            Err(_) if line.is_empty() => {}
            Err(error) => tracing::debug!(%error, "a line on a worker's channel is not an event"),
        }
    }
    None
}

/// Completes the handshake, which happens once: later messages of it are ignored.
fn finish_handshake(handshake: &mut Option<Handshake>, outcome: impl FnOnce() -> Result<Ready, PluginError>) {
    if let Some(handshake) = handshake.take() {
        // If nobody receives it, the start was given up, and its `end_on_drop` has ended the worker.
        let _ = handshake.send(outcome());
    }
}

fn level_of(name: &str) -> LogLevel {
    match name {
        "debug" => LogLevel::Debug,
        "warning" => LogLevel::Warn,
        "error" | "critical" => LogLevel::Error,
        "notset" => LogLevel::Trace,
        _ => LogLevel::Info,
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;
    use bivium_records::{Auditor, PluginLog};

    use super::*;

    async fn heard(text: &str) -> (Option<Result<Ready, PluginError>>, PluginLog, Option<Exit>) {
        let log = PluginLog::new("p");
        let (sender, receiver) = oneshot::channel();
        let denials = Denials { audit: Auditor::new("p", None, log.clone()), guard: 7, confined: true, cures: None };
        let exit = listen(text.as_bytes(), sender, Arc::new(InstanceLog::new(log.clone(), 7, 10)), denials).await;
        (receiver.await.ok(), log, exit)
    }

    #[tokio::test]
    async fn the_first_handshake_counts_and_records_reach_the_log() {
        let (ready, log, exit) = heard(concat!(
            r#"{"event": "log", "level": "warning", "logger": "a.b", "message": "early", "call": "00000000000000ff"}"#,
            "\n{\"event\": \"ready\", \"protocol\": 1, \"port\": 5, \"pid\": 6}\ncut off {\"eve\n\n",
            "{\"event\": \"exit\", \"status\": null, \"signal\": 9}\n",
        ))
        .await;
        assert_eq!(ready.unwrap().unwrap().pid, 6);
        let record = log.tail(1).remove(0);
        assert_eq!((record.level, record.message.as_str(), record.instance), (LogLevel::Warn, "a.b: early", 7));
        assert_eq!(record.call.unwrap().to_string(), "00000000000000ff");
        assert_eq!(exit, Some(Exit { status: None, signal: Some(9), left: 0 }));
    }

    #[tokio::test]
    async fn a_denial_at_the_start_is_recorded_once() {
        let failed = concat!(
            r#"{"event": "failed", "error": {"code": "plugin-failed", "message": "importing it failed", "#,
            r#""denied": {"permission": "permissions.filesystem", "resource": "/model"}}}"#,
            "\n"
        );
        let (ready, log, _) = heard(&failed.repeat(3)).await;
        assert_eq!(ready.unwrap().unwrap_err().code(), ErrorCode::PluginFailed);
        let [record] = &*log.tail(10) else { panic!("{:?}", log.tail(10)) };
        assert!(record.message.starts_with("denied: permissions.filesystem /model: "), "{}", record.message);
    }

    #[tokio::test]
    async fn another_protocol_and_a_silent_end_are_different_errors() {
        let (ready, ..) = heard("{\"event\": \"ready\", \"protocol\": 2, \"port\": 5, \"pid\": 6}\n").await;
        assert_eq!(ready.unwrap().unwrap_err().code(), ErrorCode::Protocol);
        let (ready, _, exit) = heard("").await;
        assert!(ready.is_none() && exit.is_none());
    }
}
