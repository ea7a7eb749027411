//! Cuts a cache down to its limit: the parts that were used least recently are removed first.
//!
//! A part is what a library itself treats as one unit: an entry of the library's directory, and in the `hub` of
//! Hugging Face each model. Nobody may write to the cache meanwhile: a directory could be replaced by a link.

use std::path::{Path, PathBuf};

use crate::disk::{Usage, children, usage};

/// Directories whose entries are parts of their own.
const SPLIT: &[&str] = &["huggingface/hub"];

/// Removes the least recently used parts until at most `most` bytes are left; returns how many bytes were removed.
pub(super) fn cut(files: &Path, most: u64) -> u64 {
    let mut parts = parts(files);
    let mut bytes: u64 = parts.iter().map(|part| part.usage.bytes).sum();
    let before = bytes;
    parts.sort_by_key(|part| part.usage.used);
    for part in &parts {
        if bytes <= most {
            break;
        }
        // A part that cannot be removed stays, and is tried again the next time.
        if remove(&part.path).is_ok() {
            bytes = bytes.saturating_sub(part.usage.bytes);
        }
    }
    before - bytes
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata()?.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

struct Part {
    path: PathBuf,
    usage: Usage,
}

/// The parts, each removed as a whole.
fn parts(files: &Path) -> Vec<Part> {
    let split: Vec<PathBuf> = SPLIT.iter().map(|directory| files.join(directory)).collect();
    let mut left: Vec<PathBuf> = children(files);
    let mut parts = Vec::new();
    while let Some(path) = left.pop() {
        let is_dir = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let is_library = path.parent() == Some(files);
        if is_dir && (is_library || split.contains(&path)) {
            left.extend(children(&path));
        } else {
            let usage = usage(&path);
            parts.push(Part { path, usage });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::super::tests::fill;
    use super::*;

    #[test]
    fn the_least_recently_used_parts_are_removed_until_the_rest_fits() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path();
        let used = |name: &str, hours: u64| {
            let path = files.join(name);
            fill(&path, 1000);
            let time = SystemTime::UNIX_EPOCH + Duration::from_hours(hours);
            let times = std::fs::FileTimes::new().set_accessed(time).set_modified(time);
            File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        };
        for (name, hours) in [
            ("huggingface/hub/models--old/blobs/a", 1),
            ("huggingface/hub/models--new/blobs/a", 5),
            ("huggingface/token", 4),
            ("triton/x/kernel.so", 2),
            ("triton/y/kernel.so", 3),
            ("loose", 6),
        ] {
            used(name, hours);
        }
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), files.join("triton/link")).unwrap();
        assert_eq!(usage(files).bytes / 1000, 6);
        assert_eq!(cut(files, 10_000), 0);
        let cut_off = cut(files, 4500);
        assert!((2000..2100).contains(&cut_off), "{cut_off}");
        let is_there = |name: &str| files.join(name).exists();
        assert!(!is_there("huggingface/hub/models--old") && !is_there("triton/x"));
        assert!(is_there("huggingface/hub/models--new/blobs/a") && is_there("triton/y/kernel.so") && is_there("loose"));
        cut(files, 0);
        assert_eq!(usage(files).files, 0);
        assert!(outside.path().exists());
    }
}
