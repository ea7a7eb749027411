//! Whether the kernel has killed a worker because memory ran out.
//!
//! Such a process ends like any other that was killed by SIGKILL. But the kernel counts these kills for each memory
//! control group: if the count of the worker's group has risen since the worker started, and the end of no other worker
//! explains it, memory was the reason. A SIGKILL without such evidence is reported as a SIGKILL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The kernel's count of such kills when a worker started.
#[derive(Debug)]
pub(crate) struct KillCount {
    /// None if there are no memory control groups, or none that this process may read.
    counter: Option<Counter>,
    before: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counter(PathBuf);

/// The counts that the ends of workers explain already.
static EXPLAINED: Mutex<BTreeMap<PathBuf, u64>> = Mutex::new(BTreeMap::new());

impl KillCount {
    /// The count of the control group that this process is in now.
    pub(crate) fn of(pid: u32) -> Self {
        Self::below(Path::new("/"), pid)
    }

    fn below(root: &Path, pid: u32) -> Self {
        let groups = std::fs::read_to_string(root.join(format!("proc/{pid}/cgroup"))).unwrap_or_default();
        let counter = Counter::candidates(root, &groups).into_iter().find(|counter| counter.read().is_some());
        let before = counter.as_ref().and_then(Counter::read).unwrap_or(0);
        Self { counter, before }
    }

    /// Whether there was a kill since then that the end of no other worker explains. To be called once, for a worker
    /// that was ended by SIGKILL.
    pub(crate) fn has_risen(&self) -> bool {
        let Some(counter) = &self.counter else { return false };
        let Some(now) = counter.read() else { return false };
        let mut explained = EXPLAINED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = explained.entry(counter.0.clone()).or_insert(self.before);
        *known = self.before.max(*known);
        let risen = now > *known;
        *known += u64::from(risen);
        risen
    }
}

impl Counter {
    /// Where the count may be, from `/proc/PID/cgroup`: lines of `hierarchy:controllers:path`.
    fn candidates(root: &Path, groups: &str) -> Vec<Self> {
        let mounts = root.join("sys/fs/cgroup");
        let mut found = Vec::new();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            // A group outside this cgroup namespace: it cannot be found from here.
            if path.contains("..") {
                continue;
            }
            let path = path.trim_start_matches('/');
            if controllers.split(',').any(|controller| controller == "memory") {
                found.push(Self(mounts.join("memory").join(path).join("memory.oom_control")));
            } else if controllers.is_empty() {
                // Version 2, alone or beside version 1. `local` does not count kills in groups below.
                for mount in [mounts.clone(), mounts.join("unified")] {
                    let group = mount.join(path);
                    found.extend(["memory.events.local", "memory.events"].map(|name| Self(group.join(name))));
                }
            }
        }
        found
    }

    fn read(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in which process 7 is in group `a/b` of the hierarchies in `groups`.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(groups: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.write("proc/7/cgroup", groups);
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn count(&self) -> KillCount {
            KillCount::below(self.0.path(), 7)
        }
    }

    #[test]
    fn a_higher_count_is_a_kill_and_explains_one_worker() {
        for (groups, file, text) in [
            ("0::/a/b\n", "sys/fs/cgroup/a/b/memory.events.local", "low 0\nmax 3\noom 1\noom_kill "),
            ("0::/a/b\n", "sys/fs/cgroup/a/b/memory.events", "low 0\noom_group_kill 9\noom_kill "),
            (
                "4:cpu,memory:/a/b\n0::/\n",
                "sys/fs/cgroup/memory/a/b/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill ",
            ),
        ] {
            let machine = Machine::new(groups);
            machine.write(file, &format!("{text}5\n"));
            let (first, second) = (machine.count(), machine.count());
            assert!(!first.has_risen(), "killed by somebody else");
            machine.write(file, &format!("{text}6\n"));
            assert!(first.has_risen(), "{file}");
            assert!(!second.has_risen(), "there was one kill only");
            assert!(!machine.count().has_risen(), "it was before this one began");
            machine.write(file, &format!("{text}8\n"));
            assert_eq!([&second, &second, &second].map(KillCount::has_risen), [true, true, false]);
        }
    }

    #[test]
    fn without_control_groups_nothing_is_claimed() {
        for (groups, file, text) in [
            ("", "sys/fs/cgroup/memory.events", "oom_kill 1"),
            ("0::/../../elsewhere\n", "sys/fs/cgroup/memory.events", "oom_kill 1"),
            ("0::/a\n", "sys/fs/cgroup/a/memory.events", "oom_kill many"),
            ("nonsense", "x", ""),
        ] {
            let machine = Machine::new(groups);
            machine.write(file, text);
            let count = machine.count();
            assert!(count.counter.is_none() && !count.has_risen(), "{groups}");
        }
    }

    #[test]
    fn this_process_can_be_queried() {
        assert!(!KillCount::of(std::process::id()).has_risen());
    }
}
