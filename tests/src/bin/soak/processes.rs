//! Processes, found by what stands in their environment.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The environment variable that marks the processes of one plugin.
pub(crate) const MARK: &str = "BIVIUM_SOAK_MARK";

fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(pid: u32, what: &str) -> Vec<u8> {
    std::fs::read(Path::new("/proc").join(pid.to_string()).join(what)).unwrap_or_default()
}

/// The live processes with this mark.
pub(crate) fn of(mark: &str) -> Vec<u32> {
    let marked = format!("{MARK}={mark}");
    all().filter(|pid| read(*pid, "environ").split(|byte| *byte == 0).any(|entry| entry == marked.as_bytes())).collect()
}

/// The state of a process, and its parent.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = String::from_utf8_lossy(&read(pid, "stat")).into_owned();
    let mut fields = stat.rsplit(") ").next()?.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The process that started another.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    state(pid).map(|(_, parent)| parent)
}

/// Children of this process that have ended and are not reaped.
pub(crate) fn zombies() -> Vec<u32> {
    all().filter(|pid| state(*pid) == Some(('Z', std::process::id()))).collect()
}

/// Kills a process, if it is still there.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Waits until no process with this mark is left.
pub(crate) fn all_gone(mark: &str, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    loop {
        let left = of(mark);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("processes of {mark} are left: {left:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
