//! [`ConfinementSupport`]: what this machine has to confine workers, for people who set it up.

/// What this machine has to confine workers, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfinementSupport {
    /// What confined workers get, for example `a root directory of their own`.
    pub held: Vec<&'static str>,
    /// What they do not get, each with what is needed for it.
    pub missing: Vec<&'static str>,
}

impl ConfinementSupport {
    /// Finds out for this process. Blocks for some milliseconds the first time: it starts children that try each step.
    #[must_use]
    pub fn here() -> Self {
        let mut found = Self { held: Vec::new(), missing: Vec::new() };
        for (is_held, what, lack) in facts() {
            if is_held {
                found.held.push(what);
            } else {
                found.missing.push(lack);
            }
        }
        found
    }
}

#[cfg(target_os = "linux")]
fn facts() -> Vec<(bool, &'static str, &'static str)> {
    use super::{group, landlock, namespaces, syscalls};

    let level = namespaces::Level::here();
    let kernel = landlock::Held::here();
    let filter =
        syscalls::Held { sockets: syscalls::Sockets::None, processes: false, ipc: false, root: false, gpu: false };
    vec![
        (
            level.root,
            "a root directory and shared objects of their own",
            "a root directory of their own (mount namespaces: run as root, or allow user namespaces)",
        ),
        (
            level.processes,
            "processes of their own",
            "processes of their own (PID namespaces in which /proc can be mounted; a container may forbid that)",
        ),
        (level.network, "an empty network", "an empty network (network namespaces)"),
        (kernel.files, "files by Landlock", "files by Landlock (Linux 5.13, enabled at boot)"),
        (
            kernel.truncation,
            "files protected from truncation by Landlock",
            "files protected from truncation by Landlock (Linux 6.2)",
        ),
        (kernel.ports, "TCP ports by Landlock", "TCP ports by Landlock (Linux 6.7)"),
        (kernel.scopes, "signals by Landlock", "signals by Landlock (Linux 6.12)"),
        (
            syscalls::filters(&filter).is_some(),
            "a system call filter",
            "a system call filter (for x86-64, 64-bit ARM or RISC-V)",
        ),
        (
            group::GroupPlace::find().is_some(),
            "limits of memory and processes for a whole worker (control group)",
            "limits of memory and processes for a whole worker (a control group, cgroup v2 with memory and pids, that \
             this host may use)",
        ),
    ]
}

#[cfg(not(target_os = "linux"))]
fn facts() -> Vec<(bool, &'static str, &'static str)> {
    vec![(false, "", "everything but limits (confinement needs Linux)")]
}
