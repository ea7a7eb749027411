//! [`Confinement`]: how the workers of one plugin are confined, decided when the plugin is loaded.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::{Area, Exchange};
use bivium_instances::{PlacedGpu, PluginContext, Protected};
use bivium_interface::manifest::FilesystemPermission;
use bivium_interface::policy::Scheme;
use bivium_interface::{Granted, PluginError, Result};
use seccompiler::BpfProgram;

use super::baseline::Baseline;
use super::group::GroupPlace;
use super::landlock::{self, Landlock};
use super::limits;
use super::namespaces::{Access, Level, Plan};
use super::protected::{self, brings_sockets};
use super::sandbox::{Restrictions, Sandbox};
use super::shortfall::{Means, needs_names, tell, tell_of_gpu};
use super::syscalls::{self, Sockets};
use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;

/// The size of a worker's own `/tmp` and of its own `/dev/shm`, in MiB, if its memory has no limit.
const PRIVATE_MIB: u64 = 1024;

/// The means of this machine to confine the workers of a plugin with these grants.
pub(super) fn means(granted: &Granted) -> Means {
    let filter = syscalls::Held { sockets: Sockets::None, processes: false, ipc: false, root: false, gpu: false };
    let has_filter = granted.confined && syscalls::filters(&filter).is_some();
    means_of(level(granted), landlock::Held::here(), has_filter, place(granted).as_ref())
}

fn means_of(level: Level, kernel: landlock::Held, has_filter: bool, place: Option<&GroupPlace>) -> Means {
    Means {
        files: kernel.files,
        truncation: kernel.truncation,
        ports: kernel.ports,
        signals: kernel.scopes || level.processes,
        syscalls: has_filter,
        group: place.is_some(),
        root: level.root,
        processes: level.processes,
    }
}

fn level(granted: &Granted) -> Level {
    if granted.confined { Level::here().for_network(!granted.network().is_empty()) } else { Level::default() }
}

/// The place for control groups, if one is needed.
fn place(granted: &Granted) -> Option<GroupPlace> {
    let limits = &granted.limits;
    if limits.memory_mb.is_some() || limits.processes.is_some() { GroupPlace::find() } else { None }
}

/// How one plugin's workers are confined.
pub(crate) struct Confinement {
    granted: Arc<Granted>,
    baseline: Baseline,
    /// The directories as the manifest writes them: they may be links.
    named: Vec<PathBuf>,
    /// The TCP ports that they may connect to; None for any.
    ports: Option<Vec<u16>>,
    /// Whether they may look up host names.
    lookups: bool,
    filters: Arc<Vec<BpfProgram>>,
    level: Level,
    protected: Protected,
    place: Option<GroupPlace>,
}

impl Confinement {
    /// Decides it, and logs in the plugin's log what this machine cannot enforce.
    ///
    /// # Errors
    /// `denied` if that must be enforced, naming each; or if the manifest names something outside its directory.
    pub(crate) fn new(
        manifest: &PythonManifest,
        context: &PluginContext,
        exchange: &Exchange,
        places: &WorkerPlaces,
        python: &Path,
        package: &Path,
    ) -> Result<Self> {
        let granted = Arc::clone(&context.granted);
        let confined = granted.confined;
        let rules = granted.network();
        let level = level(&granted);
        let kernel = landlock::Held::here();
        let directories: Vec<PathBuf> =
            granted.permissions.filesystem.iter().map(|directory| directory.path.clone()).collect();

        let udp = rules.iter().any(|rule| needs_names(&rule.host) || rule.scheme == Scheme::Udp);
        let local = level.root && kernel.ports && (level.network || kernel.scopes) && !brings_sockets(&directories);
        let sockets = match (rules.is_empty(), udp) {
            (true, _) if local => Sockets::Local,
            (true, _) => Sockets::None,
            (false, true) => Sockets::TcpAndUdp,
            (false, false) => Sockets::Tcp,
        };
        let gpu = manifest.resources.gpus() > 0;
        let held = syscalls::Held { sockets, processes: level.processes, ipc: level.root, root: level.root, gpu };
        let filters = if confined { syscalls::filters(&held) } else { None };
        let tcp = rules.iter().filter(|rule| rule.scheme != Scheme::Udp);
        let ports = tcp.map(|rule| rule.port).collect::<Option<Vec<u16>>>();

        let baseline =
            if confined { Baseline::of(manifest, python, package, &directories)? } else { Baseline::default() };
        let protected = places.protect(context.protected.clone().and_exchange(exchange));
        if confined {
            protected::check(&protected, &directories, level.root)?;
        }
        let place = place(&granted);
        tell(context, means_of(level, kernel, filters.is_some(), place.as_ref()))?;
        tell_of_gpu(context, gpu);
        let named = manifest.permissions.as_ref().map_or_else(Vec::new, |permissions| {
            permissions.filesystem.iter().map(|directory| directory.path.clone()).collect()
        });
        let filters = Arc::new(filters.unwrap_or_default());
        Ok(Self { granted, baseline, named, ports, lookups: udp, filters, level, protected, place })
    }

    /// Whether a worker is confined to its permissions.
    pub(crate) fn is_confined(&self) -> bool {
        self.granted.confined
    }

    /// Whether its permissions let a worker look up host names.
    pub(crate) fn lookups(&self) -> bool {
        self.lookups
    }

    /// The directories that a worker is granted.
    pub(crate) fn directories(&self) -> &[FilesystemPermission] {
        if self.granted.confined { &self.granted.permissions.filesystem } else { &[] }
    }

    /// Whether a worker may read this file without a grant.
    pub(crate) fn lets_read(&self, path: &Path) -> bool {
        let is_granted = self.granted.permissions.filesystem.iter().any(|granted| path.starts_with(&granted.path));
        is_granted && !self.protected.holds(path)
    }

    /// A sandbox for one worker, which may write to `area` and `lasting` (which is kept when it ends), and reads blobs in
    /// `windows`.
    ///
    /// # Errors
    /// `not-found` if a directory that it is granted does not exist, `unavailable` if the kernel refuses.
    pub(crate) fn sandbox<'a>(
        &self,
        name: &str,
        area: &Area,
        lasting: &[&Path],
        windows: impl Iterator<Item = &'a Path>,
        gpus: &[PlacedGpu],
    ) -> Result<Sandbox> {
        let failed =
            |error: io::Error| PluginError::unavailable(format!("cannot make the worker's confinement: {error}"));
        let limits = &self.granted.limits;
        let group = self.place.as_ref().map(|place| place.make(name, limits)).transpose().map_err(failed)?;
        let resources = limits::resources(limits, self.is_confined());
        let restrictions = if self.is_confined() {
            let windows: Vec<PathBuf> = windows.map(Path::to_owned).collect();
            Some(self.restrictions(area.path(), lasting, &windows, gpus)?)
        } else {
            None
        };
        Sandbox::new(group, resources, restrictions).map_err(failed)
    }

    fn restrictions(
        &self,
        area: &Path,
        lasting: &[&Path],
        windows: &[PathBuf],
        gpus: &[PlacedGpu],
    ) -> Result<Restrictions> {
        let devices = self.baseline.devices_for(gpus);
        let rules = landlock::Rules {
            baseline: &self.baseline,
            devices: &devices,
            granted: &self.granted.permissions.filesystem,
            ports: self.ports.as_deref(),
            area,
            lasting,
            windows,
            shares_processes: !self.level.processes,
        };
        let mut landlock = Landlock::new(&rules)?;
        let plan =
            if self.level.root { self.plan(area, lasting, windows, &devices, &mut landlock) } else { Plan::default() };
        Ok(Restrictions::new(self.level, &plan, landlock, Arc::clone(&self.filters), area))
    }

    /// The content of the worker's own root.
    fn plan(
        &self,
        area: &Path,
        lasting: &[&Path],
        windows: &[PathBuf],
        devices: &[PathBuf],
        landlock: &mut Landlock,
    ) -> Plan {
        let mut plan = Plan::default();
        for directory in &self.granted.permissions.filesystem {
            plan.show(&directory.path, directory.mode.into());
            // The name that the plugin uses for it.
            let named = self.named.iter().filter(|named| named.canonicalize().is_ok_and(|real| real == directory.path));
            named.for_each(|named| plan.show(named, directory.mode.into()));
        }
        // Protected directories below a grant are covered. Without grants there are none.
        if !self.granted.permissions.filesystem.is_empty() {
            for (place, _) in self.protected.existing().filter(|(place, _)| plan.shows(place)).collect::<Vec<_>>() {
                plan.empty(&place, 0);
            }
        }
        let mib = self.granted.limits.memory_mb.unwrap_or(PRIVATE_MIB);
        if !plan.shows(Path::new("/tmp")) {
            plan.empty(Path::new("/tmp"), mib);
            landlock.let_write(c"/tmp");
        }
        plan.empty(Path::new("/dev"), 0);
        plan.empty(Path::new("/dev/shm"), mib);
        landlock.let_write(c"/dev/shm");
        for (name, to) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
            plan.link(&Path::new("/dev").join(name), &Path::new("/proc/self").join(to));
        }
        if self.level.processes {
            plan.processes();
            landlock.let_read(c"/proc");
        } else {
            plan.show(Path::new("/proc"), Access::Read);
        }
        let Baseline { programs, facts, .. } = &self.baseline;
        programs.iter().chain(facts).for_each(|path| plan.show(path, Access::Read));
        devices.iter().for_each(|path| plan.show(path, Access::Device));
        windows.iter().for_each(|path| plan.show(path, Access::Read));
        lasting.iter().copied().chain([area]).for_each(|path| plan.show(path, Access::Write));
        plan
    }
}
