//! The kernel's own file systems: processes with their memory and environment, devices, settings of the machine. No path in a granted
//! directory may lead there: the host's own secrets are among it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::{fstat, fstatfs, stat};

/// Their types in `statfs` (`linux/magic.h`).
const TYPES: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0xcafe_4a11, // bpf
    0x1980_0202, // mqueue
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x6573_5543, // fusectl
    0x6e73_6673, // nsfs
    0x6e66_7364, // nfsd
    0x6759_6969, // rpc_pipefs
    0x5049_4446, // pidfs
];

/// The device of `/dev`, if it is a file system of its own: its type in `statfs` is that of memory.
static DEVICES: LazyLock<Option<u64>> = LazyLock::new(|| {
    let device = |path: &str| stat(path).ok().map(|found| found.st_dev);
    device("/dev").filter(|devices| device("/") != Some(*devices))
});

/// Whether an open file or directory lies in one of them. Blocks on the file system.
pub(super) fn holds(file: impl AsFd) -> io::Result<bool> {
    let kind = fstatfs(&file)?.f_type;
    Ok(TYPES.iter().any(|known| u64::try_from(kind).is_ok_and(|kind| kind == *known))
        || DEVICES.is_some_and(|devices| fstat(&file).is_ok_and(|found| found.st_dev == devices)))
}

/// Whether something is mounted beneath a directory, so that a path could lead to one of them.
pub(super) fn is_mounted_beneath(directory: &Path) -> bool {
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else { return true };
    let point = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescaped);
    let points = mounts.split(|byte| *byte == b'\n').filter_map(point);
    points.into_iter().any(|point| point.starts_with(directory) && point != directory)
}

/// Decodes a path of the list of mounts, in which some characters are written as `\040`.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path;
    while let Some((&byte, rest)) = left.split_first() {
        let code = rest.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code.filter(|_| byte == b'\\') {
            Some(code) => {
                bytes.push(code);
                left = rest.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                left = rest;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// As [`holds`], but true if it cannot be found out.
pub(super) fn may_hold(file: &File) -> bool {
    holds(file).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_file_systems_are_recognized_and_disks_and_memory_are_not() {
        let holds = |path: &str| holds(File::open(path).unwrap()).unwrap();
        for path in ["/proc", "/proc/self/environ", "/proc/self/fd", "/sys", "/sys/kernel", "/dev", "/dev/null"] {
            assert!(holds(path), "{path}");
        }
        for path in ["/", "/etc", "/tmp", "/dev/shm"] {
            assert!(!holds(path), "{path}");
        }
    }

    #[test]
    fn mounts_beneath_a_directory_are_found() {
        assert!(is_mounted_beneath(Path::new("/")));
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mounted_beneath(dir.path()));
        assert_eq!(unescaped(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(br"/a\0"), Path::new(r"/a\0"));
    }
}
