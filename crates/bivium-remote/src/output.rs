//! A worker's stdout and stderr: each line becomes a log record.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bivium_instances::{InstanceLog, PluginLog};
use bivium_interface::{LogLevel, LogSource};
use tokio::io::BufReader;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::lines::{Lines, shown};
use crate::worker::Fate;

/// Reads both pipes to their ends; the task ends with the later of the two.
pub(crate) fn read(
    stdout: OwnedFd,
    stderr: OwnedFd,
    log: Arc<InstanceLog>,
    fate: Arc<Fate>,
) -> std::io::Result<JoinHandle<()>> {
    let stdout = Receiver::from_owned_fd(stdout)?;
    let stderr = Receiver::from_owned_fd(stderr)?;
    Ok(tokio::spawn(async move {
        let out = copy(stdout, |line| log.push(LogLevel::Info, LogSource::Stdout, fate.only_call(), line));
        let err = copy(stderr, |line| {
            fate.stderr.push(line);
            log.push(LogLevel::Warn, LogSource::Stderr, fate.only_call(), line);
        });
        tokio::join!(out, err);
        log.settle(None);
    }))
}

async fn copy(pipe: Receiver, mut each: impl FnMut(&str)) {
    let mut lines = Lines::new(BufReader::new(pipe), PluginLog::MAX_MESSAGE);
    while let Some(line) = lines.next().await {
        let line = shown(&line);
        if !line.is_empty() {
            each(&line);
        }
    }
}
