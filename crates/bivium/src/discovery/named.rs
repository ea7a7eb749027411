//! What a manifest that was found by search names is held to the same as the manifest: whoever can write to it decides
//! what the plugin does.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bivium_interface::Manifest;
use rustix::fs::{Dir, FileType};

use super::trust::{Distrust, Seen, Trust};

/// Files that mark a directory as an environment.
const ENVIRONMENT: &[&str] = &["pyvenv.cfg", "conda-meta"];

/// Files of one `source` that are looked at. One that has more is no plugin's own directory.
const MOST_FILES: usize = 20_000;

impl Trust {
    /// Looks at the component, the source and the interpreter. What is not there is told when the plugin is loaded.
    pub(super) fn check_named(&self, manifest: &Manifest) -> Result<(), Distrust> {
        if let Some(component) = manifest.wasm().and_then(|wasm| wasm.component.file()) {
            there(self.look(component))?;
        }
        let Some(python) = manifest.python() else { return Ok(()) };
        if let Some(path) = &python.python_path {
            there(self.look(path))?;
            self.check_environment(path)?;
        }
        python.source.as_ref().map_or(Ok(()), |source| self.check_source(source))
    }

    /// The environment around an interpreter: what it runs of its own at every start.
    fn check_environment(&self, python: &Path) -> Result<(), Distrust> {
        let Some(root) = python.parent().and_then(Path::parent) else { return Ok(()) };
        let marks = ENVIRONMENT.iter().map(|mark| there(self.look(&root.join(mark))));
        if !marks.collect::<Result<Vec<_>, _>>()?.iter().any(Option::is_some) {
            return Ok(());
        }
        for lib in ["lib", "lib64"] {
            let Some(lib) = there(self.look(&root.join(lib)))?.filter(Seen::is_dir) else { continue };
            for name in entries(&lib)? {
                let packages = there(self.look(&lib.path.join(name).join("site-packages")))?;
                // Among them what every start of the interpreter reads: `*.pth`, `sitecustomize`.
                packages
                    .filter(Seen::is_dir)
                    .map_or(Ok(()), |packages| self.check_entries(&packages, |_, _, _| Ok(())))?;
            }
        }
        Ok(())
    }

    /// Everything in a directory that a plugin's module or what it imports may be read from.
    fn check_source(&self, source: &Path) -> Result<(), Distrust> {
        let Some(top) = there(self.look(source))? else { return Ok(()) };
        let mut left = MOST_FILES;
        let mut been = HashSet::new();
        let mut directories = VecDeque::from([top]);
        while let Some(directory) = directories.pop_front() {
            // One to which several links lead is gone through once.
            if !directory.is_dir() || !been.insert((directory.stat.st_dev, directory.stat.st_ino)) {
                continue;
            }
            self.check_entries(&directory, |name, path, seen| {
                left = left.checked_sub(1).ok_or_else(|| {
                    let many = io::Error::other(format!("it has more than {MOST_FILES} files"));
                    Distrust::Io(source.to_owned(), many)
                })?;
                if can_be_imported(name) {
                    directories.extend(match seen {
                        Entry::Link(seen) => seen,
                        Entry::Directory => there(self.look(path))?,
                        Entry::File => None,
                    });
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Looks at each entry of a directory, and at what links among them lead to.
    fn check_entries(
        &self,
        directory: &Seen,
        mut each: impl FnMut(&OsStr, &Path, Entry) -> Result<(), Distrust>,
    ) -> Result<(), Distrust> {
        let open = directory.open()?;
        for name in entries(directory)? {
            let path = directory.path.join(&name);
            let stat = match self.check_entry(&open, &name, &path) {
                Ok(stat) => stat,
                Err(Distrust::Missing) => continue,
                Err(refusal) => return Err(refusal),
            };
            let entry = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => Entry::Link(there(self.look(&path))?),
                FileType::Directory => Entry::Directory,
                _ => Entry::File,
            };
            each(&name, &path, entry)?;
        }
        Ok(())
    }
}

/// What an entry of a directory is.
enum Entry {
    /// With what it leads to, if that is there.
    Link(Option<Seen>),
    Directory,
    File,
}

/// Nothing where there is nothing.
fn there(looked: Result<Seen, Distrust>) -> Result<Option<Seen>, Distrust> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(Distrust::Missing) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The names in a directory, sorted.
pub(super) fn entries(directory: &Seen) -> Result<Vec<OsString>, Distrust> {
    let failed = |error: rustix::io::Errno| Distrust::Io(directory.path.clone(), error.into());
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.open()?).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether Python could take a directory of this name for a package.
fn can_be_imported(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let first = name.starts_with(|first: char| first.is_alphabetic() || first == '_');
        first && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Where a path is that somebody may have written relative to here.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
