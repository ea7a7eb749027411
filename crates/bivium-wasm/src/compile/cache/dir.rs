//! A directory that is ours alone, and work on what is in it through its handle, without following links.

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

/// No file of ours that is read into memory is larger: seals and remembered digests.
const NOTE_BYTES: u64 = 4096;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PRIVATE: Mode = Mode::RWXU;

/// Makes the directory and what is missing above it, and opens it.
pub(super) fn make(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(PRIVATE.as_raw_mode()).create(path)?;
    check_directory(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// Makes a directory in another, or takes the one that is there.
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

/// Opens a file for reading, if it is a regular one of ours with one name.
pub(super) fn open_file(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(parent, name, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    check(&stat, FileType::RegularFile)?;
    if stat.st_nlink != 1 {
        return Err(refused("it has another name besides (a hard link)"));
    }
    Ok(file)
}

/// Ours, and closed to everybody else.
fn check(stat: &Stat, kind: FileType) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(refused("it is of another kind than expected"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        return Err(refused("others can get at it (chmod go= makes it private)"));
    }
    Ok(())
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Makes a file that is not there yet.
pub(super) fn create_file(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// A small file's text; none if there is no such file.
pub(super) fn read_note(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<String>> {
    let file = match open_file(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(NOTE_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Puts a small file in the place of the one that may be there, as a whole.
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

/// Removes a directory of ours with the files in it, at once for everybody who looks for it by its name.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let gone = hidden_name()?;
    match renameat(parent, name, parent, &gone) {
        Err(Errno::NOENT) => return Ok(()),
        renamed => renamed?,
    }
    remove_hidden(parent, &gone)
}

/// Removes what nobody looks for any more: a directory with files in it, a file, or a link.
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
        // Somebody else does the same.
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

/// When a file was last written to, or a directory marked as used, and how large it is.
pub(super) fn look_at(parent: BorrowedFd<'_>, name: &str) -> io::Result<(Timespec, u64)> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let (tv_sec, tv_nsec) = (stat.st_mtime, stat.st_mtime_nsec.cast_signed());
    Ok((Timespec { tv_sec, tv_nsec }, u64::try_from(stat.st_size).unwrap_or_default()))
}

/// A name that no other has, for what is not in its place yet or any more.
pub(super) fn hidden_name() -> io::Result<String> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(".{random:016x}"))
}
