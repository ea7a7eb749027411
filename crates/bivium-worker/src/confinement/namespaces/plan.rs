//! [`Plan`]: the content of a worker's own root directory.
//!
//! The root is an empty file system in memory, into which each directory and file that the worker is granted is bound under its
//! path on the host. Links on that path are links here too. If a protected directory is below a grant, an empty directory
//! covers it. If a grant is the host's root itself, the worker's root is bound to that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use bivium_interface::manifest::FilesystemMode;

use super::level::Level;

/// How many links are followed on one path, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// The access to a bound path. Landlock restricts it too; a mount also protects modes, times and attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::confinement) enum Access {
    /// Reading files, and running programs.
    Read,
    Write,
    /// As [`Access::Write`], for a device.
    Device,
}

impl From<FilesystemMode> for Access {
    fn from(mode: FilesystemMode) -> Self {
        match mode {
            FilesystemMode::Read => Self::Read,
            FilesystemMode::Write => Self::Write,
        }
    }
}

/// What is at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// The host's directory or file at the same path.
    Bound {
        access: Access,
        is_dir: bool,
    },
    Link {
        to: PathBuf,
    },
    /// An empty directory in memory, of this size. With size 0 it is read-only.
    Memory {
        mib: u64,
    },
    /// The processes of the worker's PID namespace.
    Processes,
}

/// What is mounted where, by path: a directory comes before what is in it.
#[derive(Debug, Default)]
pub(in crate::confinement) struct Plan {
    pub(super) entries: BTreeMap<PathBuf, Entry>,
}

impl Plan {
    /// Shows a directory or file of the host, and the links that lead to it. A path that does not exist is ignored.
    pub(in crate::confinement) fn show(&mut self, path: &Path, access: Access) {
        let Some(real) = self.follow(path, MOST_LINKS) else { return };
        let Ok(found) = real.metadata() else { return };
        let entry = Entry::Bound { access, is_dir: found.is_dir() };
        match self.entries.get_mut(&real) {
            // Write access includes read access.
            Some(Entry::Bound { access: already, .. }) if *already != Access::Read => {}
            _ => drop(self.entries.insert(real, entry)),
        }
    }

    /// Puts an empty directory of this size there.
    pub(in crate::confinement) fn empty(&mut self, path: &Path, mib: u64) {
        self.entries.insert(path.to_owned(), Entry::Memory { mib });
    }

    /// Puts the processes of the worker's own PID namespace there.
    pub(in crate::confinement) fn processes(&mut self) {
        self.entries.insert("/proc".into(), Entry::Processes);
    }

    /// Makes a link in the worker's root.
    pub(in crate::confinement) fn link(&mut self, path: &Path, to: &Path) {
        self.entries.insert(path.to_owned(), Entry::Link { to: to.to_owned() });
    }

    /// Whether a directory or file of the host at this path or above it is shown.
    pub(in crate::confinement) fn shows(&self, path: &Path) -> bool {
        path.ancestors().any(|above| matches!(self.entries.get(above), Some(Entry::Bound { .. })))
    }

    /// The directories that replace directories of the host and contain nothing of them: those in memory, and the parents of what is
    /// shown.
    pub(in crate::confinement) fn private(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for (path, entry) in &self.entries {
            if matches!(entry, Entry::Memory { .. } | Entry::Processes) {
                found.insert(path.clone());
            }
            let above = path.ancestors().skip(1);
            found.extend(above.take_while(|above| !self.shows(above)).map(Path::to_owned));
        }
        found
    }

    /// The mounts for trying a level: one of each kind.
    pub(super) fn of_trial(level: Level) -> Self {
        let mut plan = Self::default();
        plan.empty(Path::new("/dev"), 0);
        plan.show(Path::new("/dev/null"), Access::Device);
        plan.empty(Path::new("/tmp"), 1);
        plan.show(Path::new("/usr"), Access::Read);
        match level.processes {
            true => plan.processes(),
            false => plan.show(Path::new("/proc"), Access::Write),
        }
        plan
    }

    /// The real path of a path. Adds the links on it to the plan.
    fn follow(&mut self, path: &Path, links: usize) -> Option<PathBuf> {
        let links = links.checked_sub(1)?;
        let mut real = PathBuf::from("/");
        let mut components = path.components();
        while let Some(component) = components.next() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => drop(real.pop()),
                Component::Normal(name) => {
                    let next = real.join(name);
                    let Ok(to) = next.read_link() else {
                        real = next;
                        continue;
                    };
                    let rest = real.join(&to).join(components.as_path());
                    self.entries.entry(next).or_insert(Entry::Link { to });
                    return self.follow(&rest, links);
                }
            }
        }
        Some(real)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_on_the_way_are_kept_and_the_wider_access_wins() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/data")).unwrap();
        symlink("real", root.join("one")).unwrap();
        symlink(root.join("one"), root.join("two")).unwrap();
        symlink("self", root.join("self")).unwrap();
        let mut plan = Plan::default();
        plan.show(&root.join("two/data"), Access::Write);
        plan.show(&root.join("two/data"), Access::Read);
        plan.show(&root.join("absent"), Access::Read);
        plan.show(&root.join("self"), Access::Read);
        let below: Vec<_> = plan.entries.iter().filter(|(path, _)| path.starts_with(&root)).collect();
        let link = |to: PathBuf| Entry::Link { to };
        let expected = [
            (root.join("one"), link("real".into())),
            (root.join("real/data"), Entry::Bound { access: Access::Write, is_dir: true }),
            (root.join("self"), link("self".into())),
            (root.join("two"), link(root.join("one"))),
        ];
        assert_eq!(below, expected.iter().map(|(path, entry)| (path, entry)).collect::<Vec<_>>());
        let private = plan.private();
        assert!(private.contains(&root.join("real")) && private.contains(Path::new("/")));
        assert!(!private.contains(&root.join("real/data")));
        assert!(plan.shows(&root.join("real/data/deeper")) && !plan.shows(&root.join("real")));
    }
}
