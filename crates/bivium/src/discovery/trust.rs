//! [`Trust`]: whose files are read where nobody has named them.
//!
//! What a search finds lies in the directory where somebody happens to stand. It is read only if nobody but this user and
//! root can have put it there: the file, every directory above it up to the root, and every symbolic link on the way belong
//! to them, and no other can write to any of them. A path is followed here a name at a time, by open directories, so
//! that what was looked at is what is opened.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use bivium_interface::PluginError;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

/// File systems that a process serves (`linux/magic.h`): it says of a file's owner and mode what it likes.
#[cfg(target_os = "linux")]
const SERVED: u64 = 0x6573_5546;

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// To look at something and go through it takes no right to read it.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::NONBLOCK;

/// Whose files are read.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    owners: Vec<u32>,
    groups: Vec<u32>,
}

/// How strictly something is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A directory above it. If its sticky bit is set, other users can add files, but cannot move or remove this user's files.
    Above,
    /// What is opened.
    Last,
}

/// Why something is not read.
#[derive(Debug)]
pub(crate) enum Distrust {
    /// It is not there.
    Missing,
    /// It cannot be looked at.
    Io(PathBuf, io::Error),
    /// Somebody else could have put it there.
    Stranger(PathBuf, String),
}

impl Distrust {
    fn io(path: &Path, error: impl Into<io::Error>) -> Self {
        match error.into() {
            error if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            error => Self::Io(path.to_owned(), error),
        }
    }

    /// What to tell of a file or directory that is not read.
    pub(crate) fn error(&self, read: &Path) -> PluginError {
        PluginError::denied(format!("{} is not read: {self}", read.display())).with_help(
            "if you trust it, name its directory with `--manifests`, BIVIUM_MANIFESTS or `ManagerBuilder::manifests`",
        )
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not there"),
            Self::Io(path, error) => write!(f, "{} cannot be looked at: {error}", path.display()),
            Self::Stranger(path, why) => write!(f, "{} {why}", path.display()),
        }
    }
}

/// Something that was looked at.
pub(crate) struct Seen {
    fd: OwnedFd,
    /// The directory in which it was found by its name.
    within: Option<OwnedFd>,
    /// Where it is, without links.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
}

impl Seen {
    pub(crate) fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// The same, open for reading.
    pub(crate) fn open(&self) -> Result<File, Distrust> {
        let failed = |error: Errno| Distrust::io(&self.path, error);
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if self.is_dir() {
            return openat(&self.fd, ".", read, Mode::empty()).map(File::from).map_err(failed);
        }
        let (Some(within), Some(name)) = (&self.within, self.path.file_name()) else { return Err(Distrust::Missing) };
        let file = openat(within, name, read, Mode::empty()).map_err(failed)?;
        let now = fstat(&file).map_err(failed)?;
        if (now.st_dev, now.st_ino) != (self.stat.st_dev, self.stat.st_ino) {
            return Err(Distrust::Io(self.path.clone(), io::Error::other("it was replaced meanwhile")));
        }
        Ok(file.into())
    }
}

impl Trust {
    /// That of this process: its effective user and root; for root under `sudo`, the user who called it.
    pub(crate) fn own() -> Self {
        let number = |name: &str| std::env::var_os(name)?.to_str()?.parse::<u32>().ok();
        let mut trust = Self { owners: vec![0, geteuid().as_raw()], groups: vec![getegid().as_raw()] };
        if geteuid().is_root() {
            trust.owners.extend(number("SUDO_UID"));
            trust.groups.extend(number("SUDO_GID"));
        }
        trust
    }

    /// Follows a path from the root and looks at everything on the way.
    pub(crate) fn look(&self, path: &Path) -> Result<Seen, Distrust> {
        let absolute = std::path::absolute(path).map_err(|error| Distrust::io(path, error))?;
        let mut left: VecDeque<OsString> = names(&absolute);
        let mut at = self.root()?;
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            let here = if name == ".." { parent(&at.path) } else { at.path.join(&name) };
            let failed = |error: Errno| Distrust::io(&here, error);
            let fd = openat(&at.fd, &name, LOOK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
            let stat = fstat(&fd).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                self.check_owner(&stat).map_err(|why| Distrust::Stranger(here.clone(), why))?;
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                let target = readlinkat(&at.fd, &name, Vec::new()).map_err(failed)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    at = self.root()?;
                }
                for name in names(&target).into_iter().rev() {
                    left.push_front(name);
                }
                continue;
            }
            let place = if left.is_empty() { Place::Last } else { Place::Above };
            self.check(&fd, &stat, place).map_err(|why| Distrust::Stranger(here.clone(), why))?;
            at = Seen { fd, within: Some(at.fd), path: here, stat };
        }
        Ok(at)
    }

    fn root(&self) -> Result<Seen, Distrust> {
        let path = Path::new("/");
        let failed = |error: Errno| Distrust::io(path, error);
        let fd = openat(CWD, path, LOOK | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let stat = fstat(&fd).map_err(failed)?;
        self.check(&fd, &stat, Place::Above).map_err(|why| Distrust::Stranger(path.to_owned(), why))?;
        Ok(Seen { fd, within: None, path: path.to_owned(), stat })
    }

    fn check_owner(&self, stat: &Stat) -> Result<(), String> {
        if self.owners.contains(&stat.st_uid) {
            return Ok(());
        }
        Err(format!("belongs to another user ({})", stat.st_uid))
    }

    fn check(&self, fd: impl AsFd, stat: &Stat, place: Place) -> Result<(), String> {
        self.check_owner(stat)?;
        self.check_server(&fd, stat)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let is_sticky = mode.contains(Mode::SVTX) && FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if place == Place::Above && is_sticky {
            return Ok(());
        }
        if mode.contains(Mode::WOTH) {
            return Err("can be written by everybody".to_owned());
        }
        if mode.contains(Mode::WGRP) {
            if !self.groups.contains(&stat.st_gid) {
                return Err(format!("can be written by a group that is not your own ({})", stat.st_gid));
            }
            // Then these bits stand for whoever the list names.
            if has_access_list(fd) {
                return Err("has an access control list by which others can write to it".to_owned());
            }
        }
        Ok(())
    }

    /// Whoever serves a file system decides what is in it, whomever its files belong to.
    #[cfg(target_os = "linux")]
    fn check_server(&self, fd: impl AsFd, stat: &Stat) -> Result<(), String> {
        let kind = rustix::fs::fstatfs(fd).map_err(|error| format!("cannot be looked at: {error}"))?.f_type;
        if !u64::try_from(kind).is_ok_and(|kind| kind == SERVED) {
            return Ok(());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        match server(&mounts, stat.st_dev) {
            Some(Some(user)) if !self.owners.contains(&user) => {
                Err(format!("lies in a file system that another user serves ({user})"))
            }
            Some(_) => Ok(()),
            None => Err("lies in a file system of which nobody knows who serves it".to_owned()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn check_server(&self, _fd: impl AsFd, _stat: &Stat) -> Result<(), String> {
        Ok(())
    }

    /// Looks at an entry of a directory that was looked at, which is no link.
    pub(crate) fn check_entry(&self, dir: &File, name: &OsStr, path: &Path) -> Result<Stat, Distrust> {
        let failed = |error: Errno| Distrust::io(path, error);
        let fd = openat(dir, name, LOOK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let stat = fstat(&fd).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            self.check(fd, &stat, Place::Last).map_err(|why| Distrust::Stranger(path.to_owned(), why))?;
        }
        Ok(stat)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Which user serves the file system of this device, by the list of mounts: none at all if it is not listed; no user if it is served by
/// the machine's owner (virtiofs).
#[cfg(target_os = "linux")]
fn server(mounts: &str, device: u64) -> Option<Option<u32>> {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let options = mount.split_once(" - ")?.1.rsplit(' ').next()?;
    Some(options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok()))
}

/// Whether it has a POSIX access control list.
#[cfg(target_os = "linux")]
fn has_access_list(fd: impl AsFd) -> bool {
    use std::os::fd::AsRawFd as _;
    // What is open to be looked at has no attributes; its link among the open files leads to it.
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let found = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 1]);
    // What cannot be known is taken for one. The list is longer than a byte.
    !matches!(found, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

#[cfg(not(target_os = "linux"))]
fn has_access_list(_fd: impl AsFd) -> bool {
    false
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_a_file_system_is_found_among_the_mounts() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
            36 22 0:45 / /mnt rw,nosuid - fuse.sshfs a@b:/x rw,user_id=1000,group_id=1000,allow_other\n\
            37 22 0:46 / /share rw - virtiofs share rw\n";
        let device = |minor| rustix::fs::makedev(0, minor);
        assert_eq!(server(mounts, device(45)), Some(Some(1000)));
        assert_eq!(server(mounts, device(46)), Some(None));
        assert_eq!(server(mounts, device(47)), None);
        assert_eq!(server("", device(45)), None);
    }
}
