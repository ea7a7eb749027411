//! [`FileStamp`]: the metadata of a file by which a change is noticed without reading the file.
//!
//! Every change of a file sets the time of its last change, and no program can choose that time. But that time is only as precise as
//! the kernel's tick: changes within one tick have the same time. So a stamp is reliable for a later comparison only if the last
//! change was some ticks ago when the stamp was taken, and the file was read after that.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The metadata of a file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileStamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl FileStamp {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified_ns: nanoseconds(found.mtime(), found.mtime_nsec()),
            changed_ns: nanoseconds(found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether the last change is so long ago that every later change will be visible. False for a file system that counts in whole
    /// seconds, and for a time in the future.
    pub(crate) fn is_settled(&self, margin: Duration) -> bool {
        let now = clock_gettime(ClockId::Realtime);
        let now = nanoseconds(now.tv_sec, now.tv_nsec);
        let margin = i64::try_from(margin.as_nanos()).unwrap_or(i64::MAX);
        self.changed_ns % SECOND != 0 && now.saturating_sub(self.changed_ns.max(self.modified_ns)) > margin
    }
}

const SECOND: i64 = 1_000_000_000;

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(SECOND).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_change_of_any_kind_changes_the_stamp_of_a_settled_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one").unwrap();
        let margin = Duration::from_millis(20);
        let settled = || loop {
            let stamp = FileStamp::of(file.as_file()).unwrap();
            if stamp.is_settled(margin) {
                return stamp;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let first = settled();
        assert_eq!(FileStamp::of(&File::open(file.path()).unwrap()).unwrap(), first);
        assert!(!first.is_settled(Duration::from_secs(3600)));

        let writer = File::options().write(true).open(file.path()).unwrap();
        let times = std::fs::FileTimes::new().set_modified(file.path().metadata().unwrap().modified().unwrap());
        (&writer).write_all(b"two").unwrap();
        writer.set_times(times).unwrap();
        let second = FileStamp::of(&writer).unwrap();
        assert_eq!((second.size, second.modified_ns), (first.size, first.modified_ns));
        assert_ne!(second, first, "its modification time was set back, the time of its change cannot be");
        assert!(!second.is_settled(Duration::from_secs(3600)));
    }
}
