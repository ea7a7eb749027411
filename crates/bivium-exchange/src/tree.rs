//! Removes a directory tree that a hostile plugin may have made. Symbolic links are removed and never followed, directories
//! without permission bits get them first, and neither the depth nor the size of the tree costs memory or file descriptors:
//! a directory within a directory is moved to the top before it is emptied.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::random_name::random_name;

/// A bound on the passes, for a plugin that keeps making files.
const MOST_PASSES: usize = 1 << 20;
/// How many moved directories are remembered by name: a bound on memory.
const MOST_REMEMBERED: usize = 1 << 12;

/// Removes the entry `name` of `parent`: a file, a link, or a directory with all its content. It may be gone already.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    if unlinked(parent, name)? {
        return Ok(());
    }
    let Some(dir) = open_up(parent, name)? else {
        return Ok(());
    };
    empty(dir.as_fd(), None)?;
    ignoring(Errno::NOENT, unlinkat(parent, name, AtFlags::REMOVEDIR))
}

/// Removes everything in `top` except the entry named `keep`.
pub(crate) fn empty(top: BorrowedFd<'_>, keep: Option<&CStr>) -> io::Result<()> {
    for _ in 0..MOST_PASSES {
        let mut is_empty = true;
        for entry in Dir::read_from(top)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) || Some(name) == keep {
                continue;
            }
            is_empty = false;
            if !unlinked(top, name)? {
                let mut lifted = vec![name.to_owned()];
                while let Some(name) = lifted.pop() {
                    flatten(top, &name, &mut lifted)?;
                }
            }
        }
        if is_empty {
            return Ok(());
        }
    }
    Err(io::Error::other("files are made in it faster than they can be removed"))
}

/// Empties the directory `name` and removes it. The directories in it are moved to `top`; `lifted` gets their new names while
/// it has space, and the next listing finds the others.
fn flatten(top: BorrowedFd<'_>, name: &CStr, lifted: &mut Vec<CString>) -> io::Result<()> {
    let Some(dir) = open_up(top, name)? else {
        return Ok(());
    };
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let child = entry.file_name();
        if is_dots(child) || unlinked(dir.as_fd(), child)? || open_up(dir.as_fd(), child)?.is_none() {
            continue;
        }
        let lifted_name = CString::new(random_name(16)?)?;
        ignoring(Errno::NOENT, renameat(&dir, child, top, &lifted_name))?;
        if lifted.len() < MOST_REMEMBERED {
            lifted.push(lifted_name);
        }
    }
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        // Somebody put more into it: the next pass removes that.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        result => ignoring(Errno::NOENT, result),
    }
}

/// Whether `name` is gone now. If not, it is a directory.
fn unlinked(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        // Linux says the first, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory for listing, and gives its owner the permission first. `None` if it is gone.
fn open_up(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = match openat(parent, name, flags | OFlags::PATH, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = fstat(&handle)?;
    if stat.st_dev != fstat(parent)?.st_dev {
        return Err(Errno::XDEV.into());
    }
    if !Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU) {
        // Through /proc: the name may be a link by now, but the handle still means the same directory.
        rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
    }
    Ok(Some(openat(&handle, c".", flags, Mode::empty())?))
}

fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

fn ignoring(fine: Errno, result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error != fine => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn remove_named(root: &tempfile::TempDir, name: &CStr) -> io::Result<()> {
        remove(File::open(root.path()).unwrap().as_fd(), name)
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let precious = root.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "x").unwrap();
        fs::create_dir_all(root.path().join("tree/sub")).unwrap();
        for link in ["tree/link", "tree/sub/link", "link"] {
            symlink(&precious, root.path().join(link)).unwrap();
        }
        remove_named(&root, c"tree").unwrap();
        remove_named(&root, c"link").unwrap();
        remove_named(&root, c"nothing").unwrap();
        assert!(precious.join("file").exists());
        assert_eq!(root.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn closed_directories_are_opened_up() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("tree/a/b");
        fs::create_dir_all(inner.join("c")).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        for path in [&inner, &root.path().join("tree/a"), &root.path().join("tree")] {
            fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
        }
        remove_named(&root, c"tree").unwrap();
        assert!(!root.path().join("tree").exists());
    }

    #[test]
    fn neither_depth_nor_width_is_too_much() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = OwnedFd::from(File::open(root.path()).unwrap());
        // Deeper than the longest path, the number of descriptors and the stack allow.
        for _ in 0..2500 {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            dir = openat(&dir, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        for n in 0..1000 {
            fs::write(root.path().join(format!("d/{n}")), "").unwrap();
        }
        remove_named(&root, c"d").unwrap();
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }
}
