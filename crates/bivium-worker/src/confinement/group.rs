//! A worker's own control group (cgroup v2), if the host may make one: it limits the memory and the number of all of the worker's
//! processes together, also of those that have left their parents and sessions, and ends them together.
//!
//! The group is made beside or below the host's own, wherever the `memory` and `pids` controllers are available. Most users
//! have no such place unless one was made for them, for example by `systemd-run --user -p Delegate=yes -p DelegateSubgroup=host`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bivium_interface::manifest::Limits;
use rustix::io::Errno;

/// The processes and threads of a worker before its plugin starts any: the guard, and two threads of the worker.
const OWN_TASKS: u64 = 3;

/// A place where groups can be made.
#[derive(Debug, Clone)]
pub(super) struct GroupPlace(PathBuf);

/// The group of one worker. When dropped, all processes in it are ended and it is removed.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl GroupPlace {
    /// The first place that this process can use; None if there is none.
    pub(super) fn find() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let own = mount(&mounts)?.join(own.trim_start_matches('/'));
        [own.parent(), Some(own.as_path())].into_iter().flatten().map(|path| Self(path.to_owned())).find(Self::will_do)
    }

    /// Whether groups can be made here and have the controllers.
    fn will_do(&self) -> bool {
        let control = self.0.join("cgroup.subtree_control");
        let has = || {
            let enabled = std::fs::read_to_string(&control).unwrap_or_default();
            ["memory", "pids"].iter().all(|wanted| enabled.split_whitespace().any(|name| name == *wanted))
        };
        // This process may be allowed to enable them. The kernel refuses it if there are processes in the group.
        (has() || std::fs::write(&control, "+memory +pids").is_ok() && has()) && self.group("probe").is_ok()
    }

    fn group(&self, name: &str) -> io::Result<Group> {
        let path = self.0.join(format!("bivium-{}-{name}", std::process::id()));
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Group { path }),
        }
    }

    /// A group for one worker with these limits.
    pub(super) fn make(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        let group = self.group(name)?;
        if let Some(mib) = limits.memory_mb {
            group.set("memory.max", mib.saturating_mul(1 << 20))?;
            // No swap: otherwise a worker could use swap beyond its limit. The file does not exist on machines without swap.
            let _ = group.set("memory.swap.max", 0);
            // If the limit is exceeded, all processes of the group are killed.
            group.set("memory.oom.group", 1)?;
        }
        if let Some(processes) = limits.processes {
            group.set("pids.max", processes.saturating_add(OWN_TASKS))?;
        }
        Ok(group)
    }
}

impl Group {
    fn set(&self, file: &str, value: u64) -> io::Result<()> {
        std::fs::write(self.path.join(file), value.to_string())
    }

    /// The file through which a process joins.
    pub(super) fn procs(&self) -> io::Result<File> {
        File::options().write(true).open(self.path.join("cgroup.procs"))
    }

    /// Ends every process in it.
    pub(crate) fn kill(&self) {
        // Kernels before 5.14 have no such file; there the guard and the host end the processes one by one.
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        // Processes that were just killed stay in it for a moment.
        for _ in 0..200 {
            match std::fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                _ => return,
            }
        }
        tracing::warn!(path = %self.path.display(), "cannot remove a worker's control group");
    }
}

/// Joins the group whose `cgroup.procs` this is. Runs before a worker's program: one system call.
pub(super) fn join(procs: &File) -> Result<(), Errno> {
    // 0 stands for the process that writes.
    rustix::io::write(procs, b"0").map(drop)
}

/// Where cgroup v2 is mounted, according to /proc/self/mountinfo.
fn mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        // The fourth field is the mounted part of the file system: if it is not the root, paths do not match.
        let mut fields = place.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| Path::new(path).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_mount_of_the_whole_cgroup_v2_is_found() {
        let first = "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let part = "40 31 0:38 /user.slice /mnt rw - cgroup2 cgroup2 rw\n";
        let whole = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount(&[first, part, whole].concat()).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mount(&[first, part].concat()), None);
    }

    #[test]
    fn a_group_limits_its_processes_and_ends_them() {
        let Some(place) = GroupPlace::find() else {
            eprintln!("SKIPPED: there is no control group (cgroup v2 with memory and pids) that this user may use");
            return;
        };
        let mut limits = Limits::default();
        (limits.memory_mb, limits.processes) = (Some(64), Some(5));
        let group = place.make("test", &limits).unwrap();
        let path = group.path.clone();
        let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap().trim().to_owned();
        assert_eq!((read("memory.max"), read("pids.max")), ((64 << 20).to_string(), "8".to_owned()));
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        write!(group.procs().unwrap(), "{}", child.id()).unwrap();
        drop(group);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(!path.exists());
    }
}
