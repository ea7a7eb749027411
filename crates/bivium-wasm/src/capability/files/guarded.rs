//! [`Guarded`]: keeps a guest out of protected directories beneath a directory that it may read.
//!
//! The kernel tells the real path of an opened file, through links and `..`, and even after a directory was moved. That path is
//! checked, and so is the path of an operation that opens nothing. A path leads to a protected directory if it lies in one by its
//! name, or if a directory on the path is one under another name, for example a bind mount. Only a guest that may write could change
//! the path after the check, and no guest may write above a protected directory.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bivium_instances::Protected;

/// The protected directories beneath a granted one.
pub(super) struct Guarded {
    protected: Protected,
    /// Those that exist, by device and inode.
    places: Vec<(u64, u64)>,
}

impl Guarded {
    /// Blocks on the file system, as all functions here.
    pub(super) fn new(protected: &Protected) -> Self {
        let places = protected.existing().filter_map(|(place, _)| place.metadata().ok()).map(|found| id(&found));
        Self { protected: protected.clone(), places: places.collect() }
    }

    /// Whether an open file or directory lies in a protected directory, or may do so.
    pub(super) fn holds(&self, file: &File) -> bool {
        place_of(file).is_none_or(|path| self.holds_path(&path))
    }

    /// Whether a path from an open directory leads to a protected one, whether or not its last part is followed.
    pub(super) fn is_reached(&self, dir: &File, path: &str) -> bool {
        let Some(base) = place_of(dir) else { return true };
        // An absolute path is refused by the operation itself.
        let full = base.join(path.trim_start_matches('/'));
        let unfollowed = full.parent().zip(full.file_name());
        let unfollowed = unfollowed.and_then(|(parent, name)| Some(parent.canonicalize().ok()?.join(name)));
        // If it does not exist, its nearest existing parent is checked, so that the guest cannot find out what exists.
        let followed = full.ancestors().find_map(|part| part.canonicalize().ok());
        self.holds_path(&base) || [unfollowed, followed].into_iter().flatten().any(|path| self.holds_path(&path))
    }

    fn holds_path(&self, path: &Path) -> bool {
        let is_place = |above: &Path| above.metadata().is_ok_and(|found| self.places.contains(&id(&found)));
        self.protected.holds(path) || path.ancestors().any(is_place)
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// The present path of an open file or directory. `None` if the kernel does not tell it.
pub(super) fn place_of(file: &File) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_protected_directory_is_recognized_by_name_and_by_inode() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for dir in ["data/deep", "open/sub", "bivium-7-0123456789ab/blobs"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["data/deep/file", "open/sub/file", "bivium-7-0123456789ab/blobs/1"] {
            fs::write(root.join(file), "").unwrap();
        }
        symlink("../data/deep", root.join("open/link")).unwrap();
        let later = root.join("later");
        let protected =
            Protected::default().and(Some(root.join("data")), "the data").and(Some(later), "what is to come");
        let guarded = Guarded::new(&protected);
        let holds = |path: &str| guarded.holds(&File::open(root.join(path)).unwrap());
        for path in ["data", "data/deep/file", "open/link/file", "bivium-7-0123456789ab/blobs/1", "open/../data"] {
            assert!(holds(path), "{path}");
        }
        for path in ["", "open", "open/sub/file"] {
            assert!(!holds(path), "{path}");
        }
        let open = File::open(root.join("open")).unwrap();
        let reached = |path: &str| guarded.is_reached(&open, path);
        for path in [
            "../data",
            "../data/none",
            "link",
            "link/file",
            "sub/../link/file",
            "sub/../../data/deep/..",
            "../data/none/..",
        ] {
            assert!(reached(path), "{path}");
        }
        for path in [".", "..", "sub", "sub/file", "none", "none/at/all", "sub/.."] {
            assert!(!reached(path), "{path}");
        }
        // A directory under another name, and one that was opened before it was moved there.
        let (data, sub) = (File::open(root.join("data/deep")).unwrap(), File::open(root.join("open/sub")).unwrap());
        fs::rename(root.join("data"), root.join("renamed")).unwrap();
        fs::rename(root.join("open"), root.join("later")).unwrap();
        assert!(guarded.holds(&data) && guarded.is_reached(&data, "file") && holds("renamed/deep/file"));
        assert!(guarded.holds(&sub) && guarded.is_reached(&sub, ".") && guarded.is_reached(&open, "sub/file"));
        // A removed directory counts by the name that it had.
        fs::remove_dir_all(root.join("later")).unwrap();
        assert!(guarded.holds(&sub));
    }
}
