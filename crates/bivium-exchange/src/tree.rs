//! Removing a directory tree that a hostile plugin may have made: symbolic links are removed and never followed,
//! directories without permission bits are opened up first, and neither the depth of the tree nor its size costs
//! memory or file descriptors (a directory within a directory is lifted to the top before it is emptied).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Ends a race against a plugin that goes on making directories; each pass lifts a whole level.
const MOST_PASSES: usize = 1 << 20;

/// Removes what `name` in `parent` stands for: a file, a link, a directory with all that is in it, or nothing.
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

/// Removes all that is in `top`, but for the entry named `keep`.
pub(crate) fn empty(top: BorrowedFd<'_>, keep: Option<&CStr>) -> io::Result<()> {
    for _ in 0..MOST_PASSES {
        let mut is_empty = true;
        for name in names(top)? {
            if Some(name.as_c_str()) == keep {
                continue;
            }
            is_empty = false;
            if !unlinked(top, &name)? {
                flatten(top, &name)?;
            }
        }
        if is_empty {
            return Ok(());
        }
    }
    Err(io::Error::other(
        "it fills up faster than it can be emptied",
    ))
}

/// Empties the directory `name`, lifting the directories in it into `top`, and removes it.
fn flatten(top: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let Some(dir) = open_up(top, name)? else {
        return Ok(());
    };
    for child in names(dir.as_fd())? {
        if !unlinked(dir.as_fd(), &child)? && open_up(dir.as_fd(), &child)?.is_some() {
            ignoring(
                Errno::NOENT,
                renameat(&dir, &child, top, crate::session::random_name(16)?),
            )?;
        }
    }
    match unlinkat(top, name, AtFlags::REMOVEDIR) {
        // Somebody put more into it: the next pass sees to it.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        result => ignoring(Errno::NOENT, result),
    }
}

/// Whether `name` is gone; if not, it is a directory.
fn unlinked(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        // Linux says the first, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory for listing, after giving its owner the permission. `None` if it is gone.
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
        // By way of /proc, for the name may be a link by now: the handle stays what it is.
        rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
    }
    Ok(Some(openat(&handle, c".", flags, Mode::empty())?))
}

/// The names in a directory, each read as it is asked for.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<std::ffi::CString>> {
    const AT_ONCE: usize = 4096;
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == AT_ONCE {
            break;
        }
    }
    Ok(names)
}

fn ignoring(fine: Errno, result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error != fine => Err(error.into()),
        _ => Ok(()),
    }
}
