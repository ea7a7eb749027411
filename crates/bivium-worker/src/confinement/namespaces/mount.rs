//! [`Mounts`]: builds a worker's root, in its process and before its program runs.
//!
//! The steps run in a child that shares the host's memory and must not allocate: paths are made before, and each step is
//! one or a few system calls. The new root is built beside the old one, which is unmounted at the end.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdir, open, symlinkat};
use rustix::io::{Errno, write};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{chdir, getegid, geteuid, pivot_root};

use super::level::Level;
use super::plan::{Access, Entry, Plan};
use crate::child::{Failed, MountAttributes, set_mount_attributes};

/// Where the new root is built: a directory that every machine has. It is covered only during that time.
const BUILD_DIRECTORY: &CStr = c"/proc";
const OLD: &str = "/old";
const NEW: &str = "/new";

const READ_ONLY: MountAttributes = MountAttributes { read_only: true, no_devices: false, no_programs: false };

/// One step of building the new root.
#[derive(Debug)]
enum Step {
    Directory(CString),
    File(CString),
    Link {
        at: CString,
        to: CString,
    },
    Bind {
        from: CString,
        at: CString,
        attributes: MountAttributes,
    },
    Memory {
        at: CString,
        options: CString,
    },
    Processes(CString),
    /// Makes read-only what the steps before have filled.
    ReadOnly(CString),
}

/// The steps, ready to run.
#[derive(Debug)]
pub(in crate::confinement) struct Mounts {
    steps: Vec<Step>,
    /// Whether the root is an empty directory in memory, and not the host's root.
    is_empty_root: bool,
    ids: IdMaps,
}

impl Mounts {
    /// The steps that make the mounts of a plan.
    pub(in crate::confinement) fn of(plan: &Plan) -> Self {
        let is_empty_root = !matches!(plan.entries.get(Path::new("/")), Some(Entry::Bound { .. }));
        let mut builder = Builder { plan, steps: Vec::new(), directories: Vec::new() };
        let mut read_only = Vec::new();
        for (path, entry) in &plan.entries {
            builder.place(path, entry, &mut read_only);
        }
        let mut steps = builder.steps;
        steps.extend(read_only.into_iter().map(Step::ReadOnly));
        Self { steps, is_empty_root, ids: IdMaps::new() }
    }

    /// Runs the steps. Called in the child: system calls only, no lock, no allocation.
    pub(in crate::confinement) fn enter(&self, level: Level) -> Result<(), Failed> {
        if level.user {
            self.map_ids().map_err(|error| Failed::of("map the user namespace's ids", error))?;
        }
        if level.root {
            self.prepare_root().map_err(|error| Failed::of("make a place for the new root", error))?;
            for step in &self.steps {
                step.take()?;
            }
            self.leave().map_err(|error| Failed::of("leave the old root", error))?;
        }
        Ok(())
    }

    fn map_ids(&self) -> Result<(), Errno> {
        // Without this only an administrator may map groups.
        put(c"/proc/self/setgroups", c"deny")?;
        put(c"/proc/self/uid_map", &self.ids.user)?;
        put(c"/proc/self/gid_map", &self.ids.group)
    }

    /// Makes the old root `/old`, and `/new`, in which the new one is built.
    fn prepare_root(&self) -> Result<(), Errno> {
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        memory(BUILD_DIRECTORY, c"size=64k,mode=755")?;
        chdir(BUILD_DIRECTORY)?;
        mkdir(c"old", Mode::from_raw_mode(0o755))?;
        mkdir(c"new", Mode::from_raw_mode(0o755))?;
        pivot_root(c".", c"old")?;
        chdir(c"/")?;
        if self.is_empty_root {
            return memory(c"/new", c"size=1m,mode=755");
        }
        Ok(())
    }

    fn leave(&self) -> Result<(), Errno> {
        if self.is_empty_root {
            set_mount_attributes(c"/new", READ_ONLY, false)?;
        }
        chdir(c"/new")?;
        // The old root is then mounted on top of the new one, and is unmounted.
        pivot_root(c".", c".")?;
        unmount(c".", UnmountFlags::DETACH)?;
        chdir(c"/")
    }
}

impl Step {
    fn take(&self) -> Result<(), Failed> {
        let (what, taken) = match self {
            Self::Directory(at) => ("make a directory", there(mkdir(at.as_c_str(), Mode::from_raw_mode(0o755)))),
            Self::File(at) => ("make a file", file(at)),
            Self::Link { at, to } => ("make a link", there(symlinkat(to.as_c_str(), CWD, at.as_c_str()))),
            Self::Bind { from, at, attributes } => ("bind", bind(from, at, *attributes)),
            Self::Memory { at, options } => ("mount memory", memory(at, options)),
            Self::Processes(at) => ("mount /proc", processes(at)),
            Self::ReadOnly(at) => ("make read-only", set_mount_attributes(at, READ_ONLY, false)),
        };
        taken.map_err(|error| Failed::of(what, error))
    }
}

/// The lines that map each id to itself in a user namespace.
#[derive(Debug)]
struct IdMaps {
    user: CString,
    group: CString,
}

impl IdMaps {
    fn new() -> Self {
        let line = |id: u32| CString::new(format!("{id} {id} 1")).unwrap_or_default();
        Self { user: line(geteuid().as_raw()), group: line(getegid().as_raw()) }
    }
}

fn there(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn file(at: &CStr) -> Result<(), Errno> {
    open(at, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o644)).map(drop)
}

fn bind(from: &CStr, at: &CStr, attributes: MountAttributes) -> Result<(), Errno> {
    mount_bind_recursive(from, at)?;
    set_mount_attributes(at, attributes, true)
}

fn memory(at: &CStr, options: &CStr) -> Result<(), Errno> {
    mount(c"bivium", at, c"tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
}

fn processes(at: &CStr) -> Result<(), Errno> {
    mount(c"proc", at, c"proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"")
}

fn put(path: &CStr, text: &CStr) -> Result<(), Errno> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, text.to_bytes()).map(drop)
}

/// Converts entries into steps.
struct Builder<'a> {
    plan: &'a Plan,
    steps: Vec<Step>,
    /// The directories that were made.
    directories: Vec<PathBuf>,
}

impl Builder<'_> {
    fn place(&mut self, path: &Path, entry: &Entry, read_only: &mut Vec<CString>) {
        let at = below(NEW, path);
        // Beneath a bound directory of the host, every name exists already.
        let is_there = self.is_beneath_bound(path);
        match entry {
            Entry::Link { to } if !is_there => {
                self.make_parents(path);
                self.steps.push(Step::Link { at, to: c_string(to.as_os_str()) });
            }
            Entry::Link { .. } => {}
            Entry::Bound { access, is_dir } => {
                if self.is_bound_alike(path, *access) {
                    return;
                }
                if !is_there && path != Path::new("/") {
                    self.make_parents(path);
                    let at = at.clone();
                    self.steps.push(if *is_dir { Step::Directory(at) } else { Step::File(at) });
                }
                self.steps.push(Step::Bind { from: below(OLD, path), at, attributes: attributes(*access) });
            }
            Entry::Memory { mib } => {
                self.make(path, is_there);
                let options = match mib {
                    0 => "size=64k,nr_inodes=4096,mode=755".to_owned(),
                    mib => format!("size={mib}m,mode=1777"),
                };
                self.steps.push(Step::Memory { at: at.clone(), options: c_string(OsStr::new(&options)) });
                if *mib == 0 {
                    read_only.push(at);
                }
            }
            Entry::Processes => {
                self.make(path, is_there);
                self.steps.push(Step::Processes(at));
            }
        }
    }

    fn make(&mut self, path: &Path, is_there: bool) {
        if !is_there {
            self.make_parents(path);
            self.steps.push(Step::Directory(below(NEW, path)));
        }
    }

    /// Makes the directories between the nearest entry above and this path.
    fn make_parents(&mut self, path: &Path) {
        let Some(parent) = path.parent().filter(|parent| *parent != Path::new("/")) else { return };
        if self.plan.entries.contains_key(parent) || self.directories.iter().any(|made| made == parent) {
            return;
        }
        self.make_parents(parent);
        self.directories.push(parent.to_owned());
        self.steps.push(Step::Directory(below(NEW, parent)));
    }

    fn above<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Entry> {
        let above = path.ancestors().skip(1).filter_map(|above| self.plan.entries.get(above));
        above.filter(|entry| !matches!(entry, Entry::Link { .. }))
    }

    fn is_beneath_bound(&self, path: &Path) -> bool {
        matches!(self.above(path).next(), Some(Entry::Bound { .. }))
    }

    /// Whether an entry above shows this already, with the same access.
    fn is_bound_alike(&self, path: &Path, access: Access) -> bool {
        matches!(self.above(path).next(), Some(Entry::Bound { access: above, .. }) if *above == access)
    }
}

fn attributes(access: Access) -> MountAttributes {
    MountAttributes {
        read_only: access == Access::Read,
        no_devices: access != Access::Device,
        no_programs: access == Access::Device,
    }
}

fn below(root: &str, path: &Path) -> CString {
    let rest = path.as_os_str().as_bytes();
    let rest = if rest == b"/" { &[] } else { rest };
    c_string(OsStr::from_bytes(&[root.as_bytes(), rest].concat()))
}

/// For text without zeros; paths of the system contain none.
fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_made_in_memory_and_never_on_the_host() {
        let mut plan = Plan::default();
        plan.show(Path::new("/usr"), Access::Read);
        plan.show(Path::new("/usr/bin"), Access::Read);
        plan.show(Path::new("/etc/passwd"), Access::Read);
        plan.empty(Path::new("/usr/share"), 0);
        plan.show(Path::new("/usr/share/doc"), Access::Write);
        let mounts = Mounts::of(&plan);
        let shown: Vec<String> = mounts
            .steps
            .iter()
            .map(|step| match step {
                Step::Directory(at) => format!("mkdir {}", at.to_str().unwrap()),
                Step::File(at) => format!("touch {}", at.to_str().unwrap()),
                Step::Bind { at, .. } => format!("bind {}", at.to_str().unwrap()),
                Step::Memory { at, .. } => format!("memory {}", at.to_str().unwrap()),
                Step::ReadOnly(at) => format!("read-only {}", at.to_str().unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            "mkdir /new/etc",
            "touch /new/etc/passwd",
            "bind /new/etc/passwd",
            "mkdir /new/usr",
            "bind /new/usr",
            "memory /new/usr/share",
            "mkdir /new/usr/share/doc",
            "bind /new/usr/share/doc",
            "read-only /new/usr/share",
        ];
        assert_eq!(shown, expected);
        assert!(mounts.is_empty_root);
    }
}
