//! Removes the sessions of dead hosts. Several hosts may do it at once, beside others that run and others that start;
//! other users may have put anything under a session's name into a directory that everybody may write to.
//!
//! A session is removed only if it is a directory (not a link) of this user, its name has the exact form, and its lock can
//! be taken. While its name still begins with a dot it counts as dead only after a minute: its host may not have taken the
//! lock yet.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};

use crate::session::{LOCK, RANDOM_DIGITS, open_own_dir, open_root, prefix, remove_held, same};

const TIME_TO_LOCK: Duration = Duration::from_secs(60);

/// Removes the dead sessions in `root` and returns their number. A session that cannot be removed is left for later.
pub(crate) fn reclaim(root: &Path) -> io::Result<usize> {
    let fd = open_root(root)?;
    let prefix = prefix();
    let mut reclaimed = 0;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if !is_session(name, &prefix) {
            continue;
        }
        match reclaim_one(fd.as_fd(), name) {
            Ok(true) => reclaimed += 1,
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(root = %root.display(), name, %error, "a session of the exchange was not removed")
            }
        }
    }
    if reclaimed > 0 {
        tracing::info!(root = %root.display(), reclaimed, "removed sessions of the exchange that killed hosts had left");
    }
    Ok(reclaimed)
}

fn is_session(name: &str, prefix: &str) -> bool {
    let plain = name.strip_prefix('.').unwrap_or(name);
    plain.strip_prefix(prefix).is_some_and(|random| {
        random.len() == RANDOM_DIGITS && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn reclaim_one(root: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let dir = File::from(open_own_dir(root, name)?);
    if name.starts_with('.') && !is_old(dir.metadata()?.modified()?) {
        return Ok(false);
    }
    // A host also locks the directory itself: a cleaner may have removed the lock's file because it is old.
    if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    // If its host was killed before it made the lock, the lock is made now: so there is one way to claim a session.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = File::from(openat(&dir, LOCK, flags, Mode::RUSR | Mode::WUSR)?);
    if lock.try_lock().is_err() || !same(&statat(&dir, LOCK, AtFlags::SYMLINK_NOFOLLOW)?, &fstat(&lock)?) {
        return Ok(false);
    }
    remove_held(root, dir.as_fd(), name, &lock)?;
    Ok(true)
}

/// A time in the future, from a clock that was set back, is not old.
fn is_old(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| age > TIME_TO_LOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn dead(root: &Path, name: &str) -> std::path::PathBuf {
        let path = root.join(name);
        fs::create_dir_all(path.join("areas/a/b")).unwrap();
        fs::write(path.join("areas/a/b/file"), "x").unwrap();
        fs::write(path.join("lock"), "").unwrap();
        path
    }

    #[test]
    fn a_live_session_stays_though_a_cleaner_removed_its_lock_file() {
        let root = root();
        let live = Session::create(root.path()).unwrap();
        fs::remove_file(live.path().join("lock")).unwrap();
        assert_eq!(reclaim(root.path()).unwrap(), 0);
        assert!(live.is_there());
        drop(live);
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn only_names_of_the_exact_form_are_sessions() {
        let is_session_name = |name: &str| is_session(name, "bivium-7-");
        assert!(is_session_name("bivium-7-0123456789ab") && is_session_name(".bivium-7-0123456789ab"));
        for other in [
            "bivium-7-",
            "bivium-70-0123456789ab",
            "bivium-7-0123456789aB",
            "bivium-7-0123456789abc",
            "..bivium-7-0123456789ab",
        ] {
            assert!(!is_session_name(other), "{other}");
        }
    }

    #[test]
    fn dead_sessions_are_removed_and_live_ones_stay() {
        let root = root();
        let live = Session::create(root.path()).unwrap();
        let dead = dead(root.path(), &format!("{}0123456789ab", prefix()));
        let without_lock = root.path().join(format!("{}0123456789ac", prefix()));
        fs::create_dir(&without_lock).unwrap();
        assert_eq!(reclaim(root.path()).unwrap(), 2);
        assert!(live.path().exists() && !dead.exists() && !without_lock.exists());
    }

    #[test]
    fn a_session_that_is_being_made_stays_until_it_is_old() {
        let root = root();
        let young = dead(root.path(), &format!(".{}0123456789ab", prefix()));
        let bare = root.path().join(format!(".{}0123456789ac", prefix()));
        fs::create_dir(&bare).unwrap();
        assert_eq!(reclaim(root.path()).unwrap(), 0);
        for path in [&young, &bare] {
            let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
            File::open(path).unwrap().set_modified(an_hour_ago).unwrap();
        }
        assert_eq!(reclaim(root.path()).unwrap(), 2);
        assert!(!young.exists() && !bare.exists());
    }

    #[test]
    fn links_under_a_sessions_name_are_not_followed() {
        let root = root();
        let precious = root.path().join("precious");
        dead(root.path(), "precious");
        let name = |n: u8| root.path().join(format!("{}00000000000{n}", prefix()));
        symlink(&precious, name(0)).unwrap();
        fs::write(name(1), "a file").unwrap();
        fs::create_dir(name(2)).unwrap();
        symlink(precious.join("lock"), name(2).join("lock")).unwrap();
        let inside = dead(root.path(), &format!("{}000000000003", prefix()));
        symlink(&precious, inside.join("areas/link")).unwrap();
        symlink("../../precious", inside.join("areas/a/link")).unwrap();

        assert_eq!(reclaim(root.path()).unwrap(), 1);
        assert!(!inside.exists());
        assert!(precious.join("areas/a/b/file").exists() && precious.join("lock").exists());
    }

    #[test]
    fn a_directory_of_another_user_is_left() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can give a directory away.
        }
        let root = root();
        let other = dead(root.path(), &format!("{}0123456789ab", prefix()));
        std::os::unix::fs::chown(&other, Some(12345), None).unwrap();
        assert_eq!(reclaim(root.path()).unwrap(), 0);
        assert!(other.join("lock").exists());
    }
}
