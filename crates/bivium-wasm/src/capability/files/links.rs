//! Symbolic links that a guest makes or moves: none may lead out of the granted directory.
//!
//! A guest cannot get out through a link, since `wasmtime-wasi` resolves every path beneath its directory. But the host or another
//! program may later follow a link that the guest has left there. So a link's target must be relative, may have `..` only at its
//! beginning, and may go up at most to the granted directory. The same holds for what is moved or linked to another directory.
//! Changes by other processes at the same time are not prevented; [`FilesGrant`](super::FilesGrant) lets the instances of one plugin
//! do this one at a time.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use super::list::MAX_LISTED;

/// The most nested directories in a tree that is moved; each is held open meanwhile.
pub(super) const MAX_DEPTH: usize = 64;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The result of a check.
pub(super) enum Verdict {
    Fine,
    LeadsOut,
    /// The directory has too many entries to check.
    TooMuch,
}

/// A path of the guest, and the granted directory in which it lies.
pub(super) struct PathWithin {
    pub(super) dir: Arc<File>,
    pub(super) root: Arc<File>,
    pub(super) path: String,
}

impl PathWithin {
    /// The directory that holds the last part of the path.
    fn parent(&self) -> io::Result<Dir> {
        let dir = Dir::from_std_file(self.dir.try_clone()?);
        match Path::new(&self.path).parent() {
            Some(parent) if parent != Path::new("") => dir.open_dir(parent),
            _ => Ok(dir),
        }
    }

    /// The last part of the path.
    fn name(&self) -> io::Result<&OsStr> {
        Path::new(&self.path).file_name().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// How many directories lie between the granted one and this one.
    fn depth(&self, dir: &Dir) -> io::Result<usize> {
        let root = fstat(&self.root)?;
        let mut at = openat(dir, ".", DIRECTORY, Mode::empty())?;
        for depth in 0.. {
            let here = fstat(&at)?;
            if same(&here, &root) {
                return Ok(depth);
            }
            at = openat(&at, "..", DIRECTORY, Mode::empty())?;
            if same(&fstat(&at)?, &here) {
                break;
            }
        }
        Err(io::Error::other("the directory was moved away"))
    }
}

/// How many levels a link's target goes up at its beginning; `None` if it could lead anywhere.
pub(super) fn climb(target: &Path) -> Option<usize> {
    let is_up = |part: &Component<'_>| matches!(part, Component::ParentDir);
    let parts = || target.components().filter(|part| !matches!(part, Component::CurDir));
    let up = parts().take_while(is_up).count();
    // `a/..` may lead anywhere if `a` is a link.
    parts().skip(up).all(|part| matches!(part, Component::Normal(_))).then_some(up)
}

/// Whether a link at this depth may go up so many levels.
fn within(climb: usize, depth: usize) -> Verdict {
    if climb <= depth { Verdict::Fine } else { Verdict::LeadsOut }
}

/// Whether a link that goes up so many levels may be made at this place.
pub(super) fn made(climb: usize, place: &PathWithin) -> io::Result<Verdict> {
    Ok(within(climb, place.depth(&place.parent()?)?))
}

/// Whether something may be moved or linked from one place to another.
pub(super) fn moved(from: &PathWithin, to: &PathWithin) -> io::Result<Verdict> {
    let (source, target) = (from.parent()?, to.parent()?);
    // The target of a link depends on the link's directory.
    if same(&fstat(&source)?, &fstat(&target)?) {
        return Ok(Verdict::Fine);
    }
    let name = from.name()?;
    match FileType::from_raw_mode(statat(&source, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
        FileType::Symlink => link(&source, name, to.depth(&target)?),
        FileType::Directory => tree(&below(&source, name)?, to.depth(&target)? + 1, 0, &mut 0),
        _ => Ok(Verdict::Fine),
    }
}

fn link(dir: &Dir, name: &OsStr, depth: usize) -> io::Result<Verdict> {
    let target = readlinkat(dir, name, Vec::new())?;
    let climb = climb(Path::new(OsStr::from_bytes(target.to_bytes())));
    Ok(climb.map_or(Verdict::LeadsOut, |climb| within(climb, depth)))
}

/// Checks every link in a tree that is going to lie `depth` levels below the granted directory.
fn tree(dir: &Dir, depth: usize, level: usize, seen: &mut usize) -> io::Result<Verdict> {
    if level == MAX_DEPTH {
        return Ok(Verdict::TooMuch);
    }
    for entry in dir.entries()? {
        let entry = entry?;
        *seen += 1;
        if *seen > MAX_LISTED {
            return Ok(Verdict::TooMuch);
        }
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let verdict = if kind.is_symlink() {
            link(dir, &name, depth)?
        } else if kind.is_dir() {
            tree(&below(dir, &name)?, depth + 1, level + 1, seen)?
        } else {
            Verdict::Fine
        };
        if !matches!(verdict, Verdict::Fine) {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Fine)
}

fn below(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    Ok(Dir::from_std_file(File::from(openat(dir, name, DIRECTORY, Mode::empty())?)))
}

fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_target_goes_up_only_at_its_beginning() {
        for (target, expected) in [
            ("a/b", Some(0)),
            ("./a", Some(0)),
            ("", Some(0)),
            ("..", Some(1)),
            ("./.././../a", Some(2)),
            ("a/..", None),
            ("../a/../b", None),
            ("/", None),
            ("/a", None),
        ] {
            assert_eq!(climb(Path::new(target)), expected, "{target}");
        }
    }
}
