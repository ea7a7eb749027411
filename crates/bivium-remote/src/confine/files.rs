//! The Landlock ruleset of one worker: which files it may use, to which TCP ports it may connect, and that it reaches no
//! process outside.

use std::path::Path;

use bivium_interface::manifest::FilesystemMode;
use bivium_interface::{PluginError, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags, path_beneath_rules,
};

use super::Confinement;

/// The newest Landlock that this was tried against. What an older kernel does not know of it is left out, and told:
/// [`Held`].
const TESTED: ABI = ABI::V7;

/// What this kernel's Landlock can hold a process to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) files: bool,
    /// That a file is not cut short by its path (Linux 6.2).
    pub(super) truncation: bool,
    /// To which ports TCP connects (Linux 6.7).
    pub(super) ports: bool,
    /// Which processes it may signal (Linux 6.12).
    pub(super) signals: bool,
}

impl Held {
    pub(super) fn here() -> Self {
        let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let files = |access: AccessFs| strict().handle_access(access).is_ok();
        Self {
            files: files(AccessFs::ReadFile),
            truncation: files(AccessFs::Truncate),
            ports: strict().handle_access(AccessNet::ConnectTcp).is_ok(),
            signals: strict().scope(Scope::Signal).is_ok(),
        }
    }
}

/// What may be done with a directory that is only read.
fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

/// What may be done with a device.
fn device() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev})
}

/// What may be done with a directory that is written to. Devices are not made.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(TESTED) & !make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | IoctlDev})
}

/// The ruleset of a worker that writes to `area` and `data` and reads what is lent to it in `windows`.
pub(super) fn ruleset<'a>(
    confinement: &Confinement,
    area: &Path,
    data: Option<&Path>,
    windows: impl Iterator<Item = &'a Path>,
) -> Result<RulesetCreated> {
    let failed =
        |error: RulesetError| PluginError::unavailable(format!("cannot make the worker's confinement: {error}"));
    let baseline = &confinement.baseline;
    let mut rules = Ruleset::default();
    rules = rules.handle_access(AccessFs::from_all(TESTED)).map_err(failed)?;
    rules = rules.handle_access(AccessNet::BindTcp).map_err(failed)?;
    if confinement.ports.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp).map_err(failed)?;
    }
    let mut rules = rules.scope(Scope::from_all(TESTED)).map_err(failed)?.create().map_err(failed)?;
    for port in confinement.ports.iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(failed)?;
    }
    // Programs may be run from the area: packages compile into their TMPDIR.
    let own = writing() | AccessFs::Execute;
    let mut rules = rules
        .add_rules(path_beneath_rules(&baseline.programs, reading() | AccessFs::Execute))
        .and_then(|rules| rules.add_rules(path_beneath_rules(&baseline.facts, reading())))
        .and_then(|rules| rules.add_rules(path_beneath_rules(&baseline.devices, device())))
        .and_then(|rules| rules.add_rules(path_beneath_rules([area], own)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(data, writing())))
        .and_then(|rules| rules.add_rules(path_beneath_rules(windows, reading())))
        .map_err(failed)?;
    for directory in &confinement.granted.permissions.filesystem {
        let path = &directory.path;
        let opened = PathFd::new(path).map_err(|error| {
            PluginError::not_found(format!("permissions.filesystem grants {}: {error}", path.display()))
                .with_help("make that directory, or take it out of the manifest")
        })?;
        let access = match directory.mode {
            FilesystemMode::Read => reading(),
            FilesystemMode::Write => writing(),
        };
        // A file has no names in it.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(TESTED) };
        rules = rules.add_rule(PathBeneath::new(opened, access)).map_err(failed)?;
    }
    Ok(rules)
}
