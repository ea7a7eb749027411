//! `bivium logs`: the log records of a plugin that hosts have stored, and with `-f` also those that they store from now on.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bivium::{ErrorCode, KeptLog, LogFilter, LogLevel, LogRecord, LogSource, PluginError, Result, discover};
use bivium_interface::nearest;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::args::{Global, Logs};
use crate::exit::{DONE, status};
use crate::failure::Failure;
use crate::host::{Place, Target, log_dir, search_paths};
use crate::interrupt;
use crate::output::{Output, indented};

/// How often the files are read again. Other processes write them, and not every file system can notify of changes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many of the last records are read to tell whether the plugin has written any.
const MOST_LOOKED_AT: usize = 1000;

pub(super) async fn logs(global: &Global, output: &Output, args: &Logs) -> Result<u8, Failure> {
    let Target { name, place } = Target::of(&args.named)?;
    let dir = log_dir(global)?;
    let filter = LogFilter::new(Some(args.level.into()), args.call);
    // Before anything is shown, because a user may interrupt as soon as the first record is seen.
    let interrupted = interrupt::first()?;
    let mut log = KeptLog::new(&dir, &name, filter);
    tokio::pin!(interrupted);
    let stopped = Ok(status(ErrorCode::Cancelled));
    let last = log.tail(args.lines)?;
    tokio::select! {
        biased;
        () = &mut interrupted => return stopped,
        shown = show(output, &name, &last) => shown?,
    }
    if !log.is_kept() {
        check_known(global, &place, &name)?;
        output.hint(&format!("{name} has no log yet: none is stored in {}.", dir.display()));
    } else if last.is_empty() && args.lines > 0 {
        output.hint(&nothing(&dir, &name, args)?);
    }
    if !args.follow {
        return Ok(DONE);
    }
    loop {
        let more = async {
            sleep(LOOK_EVERY).await;
            show(output, &name, &log.read()?).await
        };
        tokio::select! {
            biased;
            () = &mut interrupted => return stopped,
            shown = more => shown?,
        }
    }
}

/// Fails if there is no plugin with this name. (Not called if there is a log: the log of a removed plugin can be read.)
fn check_known(global: &Global, place: &Place<'_>, name: &str) -> Result<()> {
    let paths = search_paths(global);
    let found = discover(&paths).found;
    if !matches!(place, Place::Searched) || found.contains_key(name) {
        return Ok(());
    }
    let meant = nearest(name, found.keys().map(String::as_str)).map(|nearest| format!("did you mean {nearest:?}? "));
    let help = format!("{}`bivium list` shows all plugins", meant.unwrap_or_default());
    Err(PluginError::not_found(format!("there is no plugin {name:?}, and no log of such a plugin")).with_help(help))
}

/// Why a log that exists has no record to show.
fn nothing(dir: &Path, name: &str, args: &Logs) -> Result<String> {
    let all = |call| KeptLog::new(dir, name, LogFilter::new(None, call)).tail(MOST_LOOKED_AT);
    let level = LogLevel::from(args.level).as_str();
    let lower = format!("none of level {level} or above; `--level` selects others");
    if let Some(call) = args.call {
        let records = all(Some(call))?.len();
        return Ok(match records {
            0 => format!("The log of {name} has no record of the call {call}."),
            _ => format!("The log of {name} has records of the call {call}, and {lower}."),
        });
    }
    let records = all(None)?;
    Ok(if records.is_empty() {
        format!("The log of {name} is empty.")
    } else if records.iter().all(|record| record.source == LogSource::Host) {
        format!("{name} has run and printed nothing; `bivium logs {name} --level debug` shows the host's records.")
    } else {
        format!("The log of {name} has records, and {lower}.")
    })
}

async fn show(output: &Output, name: &str, records: &[LogRecord]) -> Result<(), Failure> {
    for record in records {
        if output.is_json() {
            output.chunk(&as_json(name, record)).await?;
        } else {
            output.print(&as_text(record)).await?;
        }
    }
    Ok(())
}

fn as_json(name: &str, record: &LogRecord) -> Value {
    let mut object = json!({"plugin": name});
    if let (Value::Object(object), Ok(Value::Object(record))) = (&mut object, serde_json::to_value(record)) {
        object.extend(record);
    }
    object
}

/// One record. Only its first line is not indented, so that a plugin's text cannot look like another record.
fn as_text(record: &LogRecord) -> String {
    let mut text = String::new();
    // A time that cannot be written as a date is left out.
    let _ = write!(text, "{}", humantime::format_rfc3339_millis(record.time));
    let call = record.call.map(|call| format!(" {call}")).unwrap_or_default();
    let (level, source, instance) = (record.level.as_str(), record.source.as_str(), record.instance);
    let message = indented(&record.message);
    let _ = write!(text, " {level:<5} {source:<6} {instance}{call}: {message}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_message_is_one_record_without_control_characters() {
        let message = "a\u{1b}[2J\r\n2026-01-02T03:04:05.678Z error host   1: forged\u{9b}31m\n";
        let text = json!({"time_ms": 1_767_323_045_678_u64, "level": "warn", "source": "log", "instance": 7,
            "call": "00000000000000ff", "message": message});
        let mut record: LogRecord = serde_json::from_value(text).unwrap();
        insta::assert_snapshot!(as_text(&record), @r"
        2026-01-02T03:04:05.678Z warn  log    7 00000000000000ff: a\u{1b}[2J\r
            2026-01-02T03:04:05.678Z error host   1: forged\u{9b}31m
        ");
        assert_eq!(as_json("p", &record)["plugin"], "p");
        record.time = std::time::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(as_text(&record).starts_with(" warn"));
    }
}
