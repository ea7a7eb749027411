//! Processes, found by an entry in their environment.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(pid: u32, what: &str) -> Vec<u8> {
    std::fs::read(Path::new("/proc").join(pid.to_string()).join(what)).unwrap_or_default()
}

/// The live processes with this entry, `NAME=VALUE`, in their environment.
#[must_use]
pub fn with(entry: &str) -> Vec<u32> {
    let has = |pid: &u32| read(*pid, "environ").split(|byte| *byte == 0).any(|other| other == entry.as_bytes());
    all().filter(has).collect()
}

/// The state of a process, and its parent.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = String::from_utf8_lossy(&read(pid, "stat")).into_owned();
    let mut fields = stat.rsplit(") ").next()?.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The process that started another.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    state(pid).map(|(_, parent)| parent)
}

/// Children of this process that have ended and are not reaped.
#[must_use]
pub fn zombies() -> Vec<u32> {
    all().filter(|pid| state(*pid) == Some(('Z', std::process::id()))).collect()
}

/// Kills a process. False if it does not exist any more.
pub fn kill(pid: u32) -> bool {
    send(pid, Signal::KILL)
}

/// Stops a process. False if it does not exist any more.
pub fn stop(pid: u32) -> bool {
    send(pid, Signal::STOP)
}

fn send(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Waits until no process with this entry in its environment is left.
///
/// # Errors
/// If some are left after that time.
pub async fn all_gone(entry: &str, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    loop {
        let left = with(entry);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "processes with {entry} are left: {left:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
