//! What a manifest that was found by search names is held to the same as the manifest: whoever can write to it decides
//! what the plugin does.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bivium_interface::Manifest;
use rustix::fs::{Dir, FileType};

use super::trust::{Refusal, Seen, Trust};

/// Files of one `source` that are looked at. One that has more is no plugin's own directory.
const MOST_FILES: usize = 20_000;

impl Trust {
    /// Looks at the component, the source and the interpreter. What is not there is told when the plugin is loaded.
    pub(super) fn check_named(&self, manifest: &Manifest) -> Result<(), Refusal> {
        for path in [&manifest.component, &manifest.python_path].into_iter().flatten() {
            there(self.look(path))?;
        }
        if let Some(python) = &manifest.python_path {
            self.check_environment(python)?;
        }
        match &manifest.source {
            Some(source) => self.check_source(source),
            None => Ok(()),
        }
    }

    /// The virtual environment around an interpreter: what it runs of its own at every start.
    fn check_environment(&self, python: &Path) -> Result<(), Refusal> {
        let Some(root) = python.parent().and_then(Path::parent) else { return Ok(()) };
        if there(self.look(&root.join("pyvenv.cfg")))?.is_none() {
            return Ok(());
        }
        for lib in ["lib", "lib64"] {
            let Some(lib) = there(self.look(&root.join(lib)))?.filter(Seen::is_dir) else { continue };
            for name in entries(&lib)? {
                there(self.look(&lib.path.join(name).join("site-packages")))?;
            }
        }
        Ok(())
    }

    /// Everything in a directory that a plugin's module or what it imports may be read from.
    fn check_source(&self, source: &Path) -> Result<(), Refusal> {
        let Some(top) = there(self.look(source))? else { return Ok(()) };
        let mut seen = 0_usize;
        let mut directories = VecDeque::from([top]);
        while let Some(directory) = directories.pop_front().filter(Seen::is_dir) {
            let open = directory.open()?;
            for name in entries(&directory)? {
                seen += 1;
                if seen > MOST_FILES {
                    let many = io::Error::other(format!("it has more than {MOST_FILES} files"));
                    return Err(Refusal::Io(source.to_owned(), many));
                }
                let path = directory.path.join(&name);
                let stat = match self.check_entry(&open, &name, &path) {
                    Ok(stat) => stat,
                    Err(Refusal::Missing) => continue,
                    Err(refusal) => return Err(refusal),
                };
                match FileType::from_raw_mode(stat.st_mode) {
                    // Where it leads must hold; it is not gone through, or it could lead anywhere.
                    FileType::Symlink => drop(there(self.look(&path))?),
                    FileType::Directory if can_be_imported(&name) => directories.extend(there(self.look(&path))?),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Nothing where there is nothing.
fn there(looked: Result<Seen, Refusal>) -> Result<Option<Seen>, Refusal> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(Refusal::Missing) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The names in a directory, sorted.
pub(super) fn entries(directory: &Seen) -> Result<Vec<OsString>, Refusal> {
    let failed = |error: rustix::io::Errno| Refusal::Io(directory.path.clone(), error.into());
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
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
