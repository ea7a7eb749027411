//! What a worker's processes use, measured from the host.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// One look at all processes serves every worker that is asked about in this time.
const FRESH: Duration = Duration::from_millis(250);

/// What a process tree uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_percent: f32,
    pub(crate) pids: Vec<u32>,
}

struct Look {
    /// None on a machine that cannot be measured.
    system: Option<System>,
    at: Option<Instant>,
}

static LOOK: LazyLock<Mutex<Look>> = LazyLock::new(|| Mutex::new(Look { system: System::new().ok(), at: None }));

/// Measures all processes below the guard, which is none of the plugin's itself.
pub(crate) fn below(guard: u32) -> Usage {
    let mut look = LOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let Look { system: Some(system), at } = &mut *look else { return Usage::default() };
    if at.is_none_or(|at| at.elapsed() > FRESH) {
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        *at = Some(Instant::now());
    }
    let mut usage = Usage::default();
    let mut parents = vec![Pid::from_u32(guard)];
    while let Some(parent) = parents.pop() {
        for (pid, process) in system.processes() {
            if process.parent() == Some(parent) {
                usage.memory_bytes += process.memory();
                usage.cpu_percent += process.cpu_usage();
                usage.pids.push(pid.as_u32());
                parents.push(*pid);
            }
        }
    }
    usage.pids.sort_unstable();
    usage
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn sees_a_child_and_its_memory() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let usage = below(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.pids.contains(&child.id()), "{usage:?}");
        assert!(usage.memory_bytes > 0);
    }
}
