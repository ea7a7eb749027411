//! A small disk for one test, which can be filled and made read-only. Crates' tests include this file by `#[path]`, and
//! `skipped.rs` with it.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

/// A tmpfs of 1 MiB, mounted until it is dropped.
pub(crate) struct SmallDisk {
    place: tempfile::TempDir,
}

#[allow(dead_code, reason = "not every test that includes this file needs all of it")]
impl SmallDisk {
    /// Mounts it. None, and a report, if that is not allowed: only root may, and not in every container.
    pub(crate) fn new() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let disk = Self { place };
        if disk.mount(&["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"]) {
            return Some(disk);
        }
        crate::skipped::skipped("a small disk cannot be mounted here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Fills it completely.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filling")).unwrap();
        let error = std::iter::repeat_with(|| file.write_all(&[0; 4096])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    /// Empties it again.
    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.path().join("filling")).unwrap();
    }

    pub(crate) fn make_read_only(&self) {
        assert!(self.mount(&["-o", "remount,ro"]));
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let done = Command::new("mount").args(arguments).arg(self.path()).output();
        done.is_ok_and(|done| done.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Files in it may still be open. If nothing was mounted this fails.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
