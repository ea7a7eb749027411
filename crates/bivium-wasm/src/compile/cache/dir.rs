//! A directory that only this user can enter. All work in it goes through open handles and follows no links.

use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, fstat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// The longest file that is read into memory: seals and remembered digests.
const NOTE_BYTES: u64 = 4096;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PRIVATE: Mode = Mode::RWXU;

/// Makes the directory and its missing parents, and opens it.
pub(super) fn make(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(PRIVATE.as_raw_mode()).create(path)?;
    check_directory(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// Makes a directory in another one, or opens an existing one.
pub(super) fn make_in(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, PRIVATE) {
        Ok(()) | Err(Errno::EXIST) => open_in(parent, name),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn open_in(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    check_directory(openat(parent, name, DIRECTORY, Mode::empty())?)
}

fn check_directory(dir: OwnedFd) -> io::Result<OwnedFd> {
    check(&fstat(&dir)?, FileType::Directory)?;
    Ok(dir)
}

/// Opens a file for reading, if it is a regular file of this user with one name.
pub(super) fn open_file(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(parent, name, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    check(&stat, FileType::RegularFile)?;
    if stat.st_nlink != 1 {
        return Err(refused("it has another name (a hard link)"));
    }
    Ok(file)
}

/// Checks that it belongs to this user and that nobody else has any rights.
fn check(stat: &Stat, kind: FileType) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(refused("it has another file type than expected"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return Err(refused("other users have access to it (`chmod go=` makes it private)"));
    }
    Ok(())
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Makes a file that does not exist yet.
pub(super) fn create_file(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// The text of a small file; `None` if it does not exist.
pub(super) fn read_note(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<String>> {
    let file = match open_file(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(NOTE_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a small file, and replaces an existing one atomically.
pub(super) fn write_note(parent: BorrowedFd<'_>, name: &str, text: &str) -> io::Result<()> {
    let fresh = hidden_name()?;
    let written = create_file(parent, &fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| Ok(renameat(parent, &fresh, parent, name)?));
    if written.is_err() {
        let _ = unlinkat(parent, &fresh, AtFlags::empty());
    }
    written
}

/// Removes a directory with the files in it. Its name is free at once.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let gone = hidden_name()?;
    match renameat(parent, name, parent, &gone) {
        Err(Errno::NOENT) => return Ok(()),
        renamed => renamed?,
    }
    remove_hidden(parent, &gone)
}

/// Removes a hidden entry: a directory with files in it, a file, or a link.
pub(super) fn remove_hidden(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the first of a directory, POSIX the second.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let emptied = || {
        let dir = openat(parent, name, DIRECTORY, Mode::empty())?;
        for file in names(dir.as_fd())? {
            unlinkat(&dir, &file, AtFlags::empty())?;
        }
        Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    };
    match emptied() {
        // Another process removes it too.
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(()),
        emptied => emptied,
    }
}

/// The names in a directory.
pub(super) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// When a file was last written to, or a directory was last marked as used, and its size.
pub(super) fn look_at(parent: BorrowedFd<'_>, name: &str) -> io::Result<(Timespec, u64)> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let (tv_sec, tv_nsec) = (stat.st_mtime, stat.st_mtime_nsec.cast_signed());
    Ok((Timespec { tv_sec, tv_nsec }, u64::try_from(stat.st_size).unwrap_or_default()))
}

/// A new unique name for an entry that is not in its place yet, or not any more.
pub(super) fn hidden_name() -> io::Result<String> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".{random:016x}"))
}
