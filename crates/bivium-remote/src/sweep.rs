//! Finding what a dead guard left behind: every process of a worker carries the worker's mark in its environment.
//!
//! The guard does better (it is the subreaper of all below it) and normally leaves nothing. This is for a guard
//! that was itself killed.

/// The name of the variable that holds the mark.
pub(crate) const MARK: &str = "BIVIUM_WORKER";

/// Kills every process with this mark, whatever group or session it is in.
#[cfg(target_os = "linux")]
pub(crate) fn sweep(mark: &str) {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(rustix::process::Pid::from_raw)
        else {
            continue;
        };
        if is_marked(pid, wanted.as_bytes()) {
            kill(pid, wanted.as_bytes());
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn sweep(_mark: &str) {}

#[cfg(target_os = "linux")]
fn is_marked(pid: rustix::process::Pid, wanted: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == wanted))
}

/// By a handle that was taken before the last look, so that a number that was given to another process meanwhile
/// does that one no harm.
#[cfg(target_os = "linux")]
fn kill(pid: rustix::process::Pid, wanted: &[u8]) {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if is_marked(pid, wanted) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn kills_what_carries_the_mark_and_nothing_else() {
        let start = |mark: &str| Command::new("sleep").arg("100").env(MARK, mark).spawn().unwrap();
        let (mut ours, mut other) = (start("sweep-test-a"), start("sweep-test-ab"));
        sweep("sweep-test-a");
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
