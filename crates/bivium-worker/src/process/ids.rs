//! Process ids as the host sees them. In a PID namespace of its own a worker's processes have other ids.

/// The host's id for the process below the guard whose own id is `told`. None if there is no such process.
#[cfg(target_os = "linux")]
pub(crate) fn host_id(guard: u32, told: u32) -> Option<u32> {
    // The kernel lists one id for each namespace that the process is in; its own is the last.
    let knows_itself = |pid: u32| -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
    };
    let mut below = vec![guard];
    // A worker that has just started has few processes.
    for _ in 0..MOST_PROCESSES {
        let pid = below.pop()?;
        for child in children(pid) {
            if knows_itself(child) == Some(told) {
                return Some(child);
            }
            below.push(child);
        }
    }
    None
}

/// There are no PID namespaces.
#[cfg(not(target_os = "linux"))]
pub(crate) fn host_id(_guard: u32, told: u32) -> Option<u32> {
    Some(told)
}

#[cfg(target_os = "linux")]
const MOST_PROCESSES: usize = 1000;

/// The children of all threads of a process.
#[cfg(target_os = "linux")]
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_below_is_found_and_others_are_not() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let found = [child.id(), 1, std::process::id()].map(|told| host_id(std::process::id(), told));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, [Some(child.id()), None, None]);
    }
}
