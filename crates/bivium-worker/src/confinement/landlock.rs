//! The Landlock ruleset of one worker: which files it may use, to which TCP ports it may connect, and that it can signal no
//! process outside.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bivium_interface::manifest::{FilesystemMode, FilesystemPermission};
use bivium_interface::{PluginError, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags, path_beneath_rules,
};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::baseline::Baseline;
use crate::child::{add_landlock_rule, restrict_by_landlock};

/// The newest Landlock version that this was tested with. Features that an older kernel does not have are left out and reported:
/// [`Held`].
const TESTED: ABI = ABI::V7;

/// What this kernel's Landlock can restrict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) files: bool,
    /// Truncating files by path (Linux 6.2).
    pub(super) truncation: bool,
    /// TCP ports to connect to (Linux 6.7).
    pub(super) ports: bool,
    /// Processes to signal, and abstract Unix sockets to connect to (Linux 6.12).
    pub(super) scopes: bool,
}

impl Held {
    pub(super) fn here() -> Self {
        let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let files = |access: AccessFs| strict().handle_access(access).is_ok();
        Self {
            files: files(AccessFs::ReadFile),
            truncation: files(AccessFs::Truncate),
            ports: strict().handle_access(AccessNet::ConnectTcp).is_ok(),
            scopes: strict().scope(Scope::Signal).is_ok() && strict().scope(Scope::AbstractUnixSocket).is_ok(),
        }
    }
}

/// The access to a directory that is only read.
fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// The access to a device.
fn device() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev})
}

/// The access to a directory that may be written to. Devices cannot be made.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(TESTED) & !make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | IoctlDev})
}

/// What one worker may do, as far as that is known before its namespaces are made.
pub(super) struct Rules<'a> {
    pub(super) baseline: &'a Baseline,
    /// The devices among those of the baseline that this worker may use.
    pub(super) devices: &'a [PathBuf],
    pub(super) granted: &'a [FilesystemPermission],
    /// The TCP ports that it may connect to; None for any.
    pub(super) ports: Option<&'a [u16]>,
    /// Where it may write, and run programs: packages compile code into TMPDIR.
    pub(super) area: &'a Path,
    /// Where it may write files that are kept.
    pub(super) lasting: &'a [&'a Path],
    /// Where it may read.
    pub(super) windows: &'a [PathBuf],
    /// Whether it uses the host's `/proc`.
    pub(super) shares_processes: bool,
}

/// A ruleset. Rules for what is mounted in the worker's process are added there.
#[derive(Debug)]
pub(super) struct Landlock {
    /// None if the kernel has no Landlock.
    ruleset: Option<OwnedFd>,
    /// Paths that exist only in the worker's own root, and the access beneath them.
    own: Vec<(CString, u64)>,
}

impl Landlock {
    pub(super) fn new(rules: &Rules<'_>) -> Result<Self> {
        let failed =
            |error: RulesetError| PluginError::unavailable(format!("cannot make the worker's confinement: {error}"));
        let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(TESTED)).map_err(failed)?;
        ruleset = ruleset.handle_access(AccessNet::BindTcp).map_err(failed)?;
        if rules.ports.is_some() {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp).map_err(failed)?;
        }
        let mut ruleset = ruleset.scope(Scope::from_all(TESTED)).map_err(failed)?.create().map_err(failed)?;
        for port in rules.ports.into_iter().flatten() {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(failed)?;
        }
        let baseline = rules.baseline;
        let processes = rules.shares_processes.then_some("/proc");
        let mut ruleset = ruleset
            .add_rules(path_beneath_rules(&baseline.programs, reading() | AccessFs::Execute))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&baseline.facts, reading())))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(processes, reading())))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(rules.devices, device())))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules([rules.area], writing() | AccessFs::Execute)))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(rules.lasting, writing())))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(rules.windows, reading())))
            .map_err(failed)?;
        for directory in rules.granted {
            ruleset = ruleset.add_rule(granted(directory)?).map_err(failed)?;
        }
        Ok(Self { ruleset: ruleset.into(), own: Vec::new() })
    }

    /// Allows writing to what will be mounted at this path.
    pub(super) fn let_write(&mut self, path: &CStr) {
        self.own.push((path.to_owned(), (writing() & known()).bits()));
    }

    /// Allows reading what will be mounted at this path.
    pub(super) fn let_read(&mut self, path: &CStr) {
        self.own.push((path.to_owned(), (reading() & known()).bits()));
    }

    /// Restricts this process. Runs before its program: system calls only, no lock, no allocation.
    pub(super) fn restrict(&self) -> Result<(), Errno> {
        let Some(ruleset) = &self.ruleset else { return Ok(()) };
        for (path, allowed) in &self.own {
            let opened = open(path.as_c_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            add_landlock_rule(ruleset.as_fd(), opened.as_fd(), *allowed)?;
        }
        restrict_by_landlock(ruleset.as_fd())
    }
}

fn granted(directory: &FilesystemPermission) -> Result<PathBeneath<PathFd>> {
    let path = &directory.path;
    let opened = PathFd::new(path).map_err(|error| {
        PluginError::not_found(format!("permissions.filesystem grants {}: {error}", path.display()))
            .with_help("make that directory, or take it out of the manifest")
    })?;
    let access = match directory.mode {
        FilesystemMode::Read => reading(),
        FilesystemMode::Write => writing(),
    };
    // For a file, the rights that apply to directories are left out.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(TESTED) };
    Ok(PathBeneath::new(opened, access))
}

/// The rights that this kernel's Landlock supports.
fn known() -> BitFlags<AccessFs> {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    AccessFs::from_all(TESTED).iter().filter(|access| strict().handle_access(*access).is_ok()).collect()
}
