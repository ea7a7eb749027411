//! [`Confinement`] and [`Cage`] on Linux.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::Area;
use bivium_instances::PluginContext;
use bivium_interface::policy::Scheme;
use bivium_interface::{Granted, Manifest, PluginError, Result};
use landlock::RulesetCreated;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use seccompiler::BpfProgram;

use super::baseline::Baseline;
use super::files::{self, Held};
pub(crate) use super::group::Group;
use super::group::{self, Place};
use super::limits;
use super::shortfall::{Means, needs_names, tell, tell_of_gpu};
use super::syscalls::{Sockets, filter};

/// How one plugin's workers are held.
pub(crate) struct Confinement {
    pub(super) granted: Arc<Granted>,
    pub(super) baseline: Baseline,
    /// The TCP ports that they may connect to; none for any.
    pub(super) ports: Option<Vec<u16>>,
    filter: Arc<BpfProgram>,
    place: Option<Place>,
    /// Where they may read in any case, and so need no copy or link.
    readable: Vec<PathBuf>,
}

impl Confinement {
    /// Works it out, and says in the plugin's log what this machine cannot hold.
    ///
    /// # Errors
    /// `denied` if that is to be enforced, naming each; or if the manifest reaches for what lies outside.
    pub(crate) fn new(manifest: &Manifest, context: &PluginContext, python: &Path, package: &Path) -> Result<Self> {
        let granted = Arc::clone(&context.granted);
        let confined = granted.confined;
        let rules = granted.network();
        let udp = rules.iter().any(|rule| needs_names(&rule.host) || rule.scheme == Scheme::Udp);
        let sockets = match (rules.is_empty(), udp) {
            (true, _) => Sockets::None,
            (false, true) => Sockets::TcpAndUdp,
            (false, false) => Sockets::Tcp,
        };
        let tcp = rules.iter().filter(|rule| rule.scheme != Scheme::Udp);
        let ports = tcp.map(|rule| rule.port).collect::<Option<Vec<u16>>>();
        let filter = if confined { filter(sockets) } else { None };
        let directories = granted.permissions.filesystem.iter();
        let readable: Vec<PathBuf> = directories.filter_map(|directory| directory.path.canonicalize().ok()).collect();
        let baseline = if confined { Baseline::of(manifest, python, package, &readable)? } else { Baseline::default() };
        let limits = &granted.limits;
        let place = if limits.memory_mb.is_some() || limits.processes.is_some() { Place::find() } else { None };

        let Held { files, truncation, ports: holds_ports, signals } = Held::here();
        let means = Means {
            files,
            truncation,
            ports: holds_ports,
            signals,
            syscalls: filter.is_some(),
            group: place.is_some(),
        };
        tell(context, means)?;
        tell_of_gpu(context, manifest.resources.requires_gpu);
        Ok(Self { granted, baseline, ports, filter: Arc::new(filter.unwrap_or_default()), place, readable })
    }

    /// Whether its permissions hold a worker.
    pub(crate) fn is_confined(&self) -> bool {
        self.granted.confined
    }

    /// Whether a worker may read this file in any case.
    pub(crate) fn lets_read(&self, path: &Path) -> bool {
        self.readable.iter().any(|readable| path.starts_with(readable))
    }

    /// A cage for one worker, which writes to `area`, keeps what lasts in `data`, and reads what is lent to it in
    /// `windows`.
    ///
    /// # Errors
    /// `not-found` if a directory that it is granted is not there, `unavailable` if the kernel refuses.
    pub(crate) fn cage<'a>(
        &self,
        name: &str,
        area: &Area,
        data: Option<&Path>,
        windows: impl Iterator<Item = &'a Path>,
    ) -> Result<Cage> {
        let failed =
            |error: io::Error| PluginError::unavailable(format!("cannot make the worker's confinement: {error}"));
        let limits = &self.granted.limits;
        let group = self.place.as_ref().map(|place| place.make(name, limits)).transpose().map_err(failed)?;
        let walls = if self.is_confined() {
            // It may open no socket by itself.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let rules = files::ruleset(self, area.path(), data, windows)?;
            Some(Walls { rules: Some(rules), filter: Arc::clone(&self.filter), listener })
        } else {
            None
        };
        Ok(Cage {
            door: group.as_ref().map(Group::door).transpose().map_err(failed)?,
            group,
            resources: limits::resources(limits, self.is_confined()),
            walls,
        })
    }
}

/// What one worker is put into.
pub(crate) struct Cage {
    group: Option<Group>,
    door: Option<File>,
    resources: Vec<(Resource, Rlimit)>,
    /// None for one that is not confined.
    walls: Option<Walls>,
}

struct Walls {
    /// Taken when they close.
    rules: Option<RulesetCreated>,
    filter: Arc<BpfProgram>,
    listener: TcpListener,
}

impl Cage {
    /// The number of the descriptor that the worker is to listen on, if it may make none itself.
    pub(crate) fn listener(&self) -> Option<i32> {
        self.walls.as_ref().map(|walls| walls.listener.as_raw_fd())
    }

    /// Whether nothing has to be closed.
    pub(crate) fn is_open(&self) -> bool {
        self.door.is_none() && self.resources.is_empty() && self.walls.is_none()
    }

    /// Its control group, once: to be dropped when the worker has ended.
    pub(crate) fn take_group(&mut self) -> Option<Group> {
        self.group.take()
    }

    /// Closes around this process. Runs between fork and exec: system calls only, no lock, no allocation.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if let Some(door) = &self.door {
            group::join(door)?;
        }
        limits::apply(&self.resources)?;
        let Some(walls) = &mut self.walls else { return Ok(()) };
        fcntl_setfd(&walls.listener, FdFlags::empty())?;
        set_no_new_privs(true)?;
        drop_capabilities()?;
        if let Some(rules) = walls.rules.take()
            && rules.restrict_self().is_err()
        {
            return Err(io::Error::last_os_error());
        }
        if !walls.filter.is_empty() && seccompiler::apply_filter(&walls.filter).is_err() {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// For a host that is root: what a confined worker runs as is a user like any other, who happens to own root's files.
fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    for bit in 0..u64::BITS {
        // An error means that there is no such capability, or that we have none to give away.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit));
    }
    let _ = clear_ambient_capability_set();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}
