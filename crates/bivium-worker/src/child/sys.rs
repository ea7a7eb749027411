//! System calls without a wrapper in a library, for a child that must not allocate.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// What is forbidden on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountAttributes {
    pub(crate) read_only: bool,
    pub(crate) no_devices: bool,
    pub(crate) no_programs: bool,
}

/// Sets them on a mount, and on the mounts below it if `recursive`. Set-user-ID has no effect there.
pub(crate) fn set_mount_attributes(at: &CStr, attributes: MountAttributes, recursive: bool) -> Result<(), Errno> {
    let of = |is: bool, bit: u64| if is { bit } else { 0 };
    let set = libc::MOUNT_ATTR_NOSUID
        | of(attributes.read_only, libc::MOUNT_ATTR_RDONLY)
        | of(attributes.no_devices, libc::MOUNT_ATTR_NODEV)
        | of(attributes.no_programs, libc::MOUNT_ATTR_NOEXEC);
    let given = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads the path and the structure, whose size is given, and keeps neither.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            flags,
            std::ptr::from_ref(&given),
            size_of::<libc::mount_attr>(),
        )
    })
}

/// Allows the processes that the ruleset will restrict this access beneath an open path.
pub(crate) fn add_landlock_rule(ruleset: BorrowedFd<'_>, path: BorrowedFd<'_>, allowed: u64) -> Result<(), Errno> {
    const PATH_BENEATH: libc::c_int = 1;

    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct PathBeneath {
        allowed: u64,
        path: i32,
    }

    let rule = PathBeneath { allowed, path: path.as_raw_fd() };
    // SAFETY: the kernel reads the structure, which has the layout for this kind of rule, and keeps nothing.
    done(unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, std::ptr::from_ref(&rule), 0)
    })
}

/// Restricts this process by a ruleset. This cannot be undone.
pub(crate) fn restrict_by_landlock(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the arguments are numbers.
    done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
}

fn done(result: libc::c_long) -> Result<(), Errno> {
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
