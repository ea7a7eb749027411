//! [`Sandbox`]: confines one worker's process.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, chdir};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use seccompiler::BpfProgram;

use super::group::{self, Group};
use super::landlock::Landlock;
use super::limits;
use super::namespaces::{Level, Mounts, Plan};
use crate::child::Failed;

/// The restrictions and limits of one worker.
pub(crate) struct Sandbox {
    group: Option<Group>,
    /// The file through which a process joins the group.
    procs: Option<File>,
    resources: Vec<(Resource, Rlimit)>,
    /// None for a worker that is not confined.
    restrictions: Option<Restrictions>,
}

/// What confines a worker.
pub(super) struct Restrictions {
    level: Level,
    mounts: Mounts,
    private: BTreeSet<PathBuf>,
    landlock: Landlock,
    filters: Arc<Vec<BpfProgram>>,
    directory: CString,
}

impl Sandbox {
    pub(super) fn new(
        group: Option<Group>,
        resources: Vec<(Resource, Rlimit)>,
        restrictions: Option<Restrictions>,
    ) -> io::Result<Self> {
        let procs = group.as_ref().map(Group::procs).transpose()?;
        Ok(Self { group, procs, resources, restrictions })
    }

    /// Whether it has no restrictions and limits.
    pub(crate) fn is_open(&self) -> bool {
        self.procs.is_none() && self.resources.is_empty() && self.restrictions.is_none()
    }

    /// The worker's own empty directories, which replace directories of the host.
    pub(crate) fn private(&self) -> Vec<&str> {
        self.restrictions
            .iter()
            .flat_map(|restrictions| restrictions.private.iter().filter_map(|path| path.to_str()))
            .collect()
    }

    /// Takes its control group out, to be dropped when the worker has ended.
    pub(crate) fn take_group(&mut self) -> Option<Group> {
        self.group.take()
    }

    /// The namespaces for its process, as flags of `clone`.
    pub(crate) fn namespaces(&self) -> libc::c_int {
        self.restrictions.as_ref().map_or(0, |restrictions| restrictions.level.flags())
    }

    /// Whether its process will be the first of a PID namespace.
    pub(crate) fn has_processes_of_its_own(&self) -> bool {
        self.restrictions.as_ref().is_some_and(|restrictions| restrictions.level.processes)
    }

    /// Applies it to this process, which cannot be undone. Runs before the process's program: system calls only, no lock, no allocation.
    pub(crate) fn enter(&self) -> Result<(), Failed> {
        if let Some(procs) = &self.procs {
            group::join(procs).map_err(|error| Failed::of("join its control group", error))?;
        }
        let Some(restrictions) = &self.restrictions else { return self.limit() };
        restrictions.mounts.enter(restrictions.level)?;
        // The limit of open files may be lower than the number of files that the host has open.
        self.limit()?;
        restrictions.apply()
    }

    fn limit(&self) -> Result<(), Failed> {
        limits::apply(&self.resources).map_err(|error| Failed::of("set its limits", error))
    }
}

impl Restrictions {
    pub(super) fn new(
        level: Level,
        plan: &Plan,
        landlock: Landlock,
        filters: Arc<Vec<BpfProgram>>,
        directory: &Path,
    ) -> Self {
        let directory = CString::new(directory.as_os_str().as_bytes()).unwrap_or_default();
        Self { level, mounts: Mounts::of(plan), private: plan.private(), landlock, filters, directory }
    }

    fn apply(&self) -> Result<(), Failed> {
        chdir(self.directory.as_c_str()).map_err(|error| Failed::of("enter its directory", error))?;
        set_no_new_privs(true).map_err(|error| Failed::of("give up new privileges", error))?;
        drop_capabilities().map_err(|error| Failed::of("give up its capabilities", error))?;
        self.landlock.restrict().map_err(|error| Failed::of("restrict it by Landlock", error))?;
        for filter in self.filters.iter() {
            if seccompiler::apply_filter(filter).is_err() {
                let error = Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL);
                return Err(Failed::of("filter its system calls", error));
            }
        }
        Ok(())
    }
}

/// For a host that runs as root: a confined worker then has the rights of an ordinary user who owns root's files.
fn drop_capabilities() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    for bit in 0..u64::BITS {
        // An error means that there is no such capability, or that this process has none to drop.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
    let _ = clear_ambient_capability_set();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
