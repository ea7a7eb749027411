//! [`Directory`]: a granted directory, opened once.
//!
//! Symbolic links in its path were resolved when it was checked against the host's policy. It is opened step by step without following
//! links, so that the directory that was granted is opened, even if something has been put in its place since; and it is opened once.

use std::fs::File;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use bivium_instances::Protected;
use bivium_interface::manifest::{FilesystemMode, FilesystemPermission};
use bivium_interface::{PluginError, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

use super::guarded::{Guarded, place_of};
use super::kernel;

/// The keys of the permissions, as in manifests, errors and the audit log.
pub(crate) const FILESYSTEM: &str = "permissions.filesystem";
pub(super) const BLOB_FILES: &str = "permissions.blob_files";

/// The directories of the kernel's file systems, whatever is mounted there.
const IN_KERNEL: [&str; 2] = ["/proc", "/sys"];

/// A granted directory.
pub(super) struct Directory {
    /// The permission's key.
    pub(super) key: &'static str,
    /// The path that the guest sees.
    pub(super) guest: String,
    /// For people: what is granted, and of which directory of the host.
    pub(super) shown: String,
    /// Whether a path beneath it may lead to one of the kernel's file systems.
    pub(super) leads_to_kernel: bool,
    /// Protected directories beneath it, which the guest must not reach.
    pub(super) guarded: Option<Arc<Guarded>>,
    pub(super) dir: Dir,
}

impl Directory {
    pub(super) fn is_writable(&self) -> bool {
        self.dir.perms == FsPerms::ReadWrite
    }
}

impl Directory {
    /// Opens what is granted. Blocks on the file system.
    pub(super) fn open(permission: &FilesystemPermission, protected: &Protected) -> Result<Self> {
        let FilesystemPermission { path, guest, mode, .. } = permission;
        protected.check(path)?;
        let file = walk(path).map_err(|error| {
            let message =
                format!("the directory {} that `{FILESYSTEM}` names cannot be opened: {error}", path.display());
            match error.kind() {
                io::ErrorKind::NotFound => PluginError::not_found(message).with_help("make it, or correct the path"),
                io::ErrorKind::PermissionDenied => PluginError::denied(message)
                    .with_help("let the host's user read it, or take it out of the manifest"),
                _ => PluginError::invalid_manifest(message).with_help("name a directory"),
            }
        })?;
        if kernel::may_hold(&file) || IN_KERNEL.iter().any(|place| path.starts_with(place)) {
            let message = format!("`{FILESYSTEM}` grants {}, which is a file system of the kernel", path.display());
            return Err(PluginError::denied(message).with_help("grant a directory on a disk"));
        }
        let guarded = guard(permission, &file, protected)?;
        let (perms, open_mode) = match mode {
            FilesystemMode::Read => (FsPerms::ReadOnly, OpenMode::READ),
            FilesystemMode::Write => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        };
        Ok(Self {
            key: FILESYSTEM,
            guest: guest.clone(),
            leads_to_kernel: kernel::is_mounted_beneath(path),
            guarded,
            shown: format!("{} {} as {guest}", mode.verb(), path.display()),
            // Never on the thread that drives the guest: its deadline must hold even if a disk does not answer.
            dir: Dir::new(file, perms, open_mode, false),
        })
    }
}

/// Keeps a guest out of protected directories beneath a granted one. A guest that may write there could move them, or a directory
/// above them, while the host checks a path; such a grant is refused.
fn guard(permission: &FilesystemPermission, file: &File, protected: &Protected) -> Result<Option<Arc<Guarded>>> {
    let FilesystemPermission { path, mode, .. } = permission;
    let Some((place, what)) = protected.beneath(path) else { return Ok(None) };
    let refused = |how: &str, why: &str| {
        let (path, place) = (path.display(), place.display());
        PluginError::denied(format!("{FILESYSTEM} grants {path}{how}, and {place} ({what}) lies in it: {why}"))
    };
    let each = "only the directories in it that the plugin needs";
    match mode {
        FilesystemMode::Write => Err(refused(" for writing", "a component that may write there could reach it")
            .with_help(format!("grant it with `\"mode\": \"read\"`, or {each}"))),
        FilesystemMode::Read if place_of(file).is_none() => {
            Err(refused("", "without /proc the host cannot keep a component out of it")
                .with_help(format!("grant {each}")))
        }
        FilesystemMode::Read => Ok(Some(Arc::new(Guarded::new(protected)))),
    }
}

/// Opens an absolute path without following symbolic links.
fn walk(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Going through a directory needs fewer rights than reading it.
    #[cfg(target_os = "linux")]
    let through = flags | OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let through = flags;
    let mut names = path.components().filter(|part| *part != Component::RootDir).peekable();
    let how = |last: bool| if last { flags } else { through };
    let mut dir = openat(CWD, "/", how(names.peek().is_none()), Mode::empty())?;
    while let Some(part) = names.next() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not absolute"));
        };
        dir = openat(&dir, name, how(names.peek().is_none()), Mode::empty())?;
    }
    Ok(dir.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;

    #[test]
    fn a_directory_is_opened_without_following_links() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::create_dir(root.join("real/in")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        walk(&root.join("real/in")).unwrap();
        walk(Path::new("/")).unwrap();
        for (path, code) in [
            ("none", ErrorCode::NotFound),
            ("file", ErrorCode::InvalidManifest),
            ("link", ErrorCode::InvalidManifest),
            ("link/in", ErrorCode::InvalidManifest),
            ("real/../real", ErrorCode::InvalidManifest),
        ] {
            let path = root.join(path);
            let mode = FilesystemMode::Read;
            let permission = FilesystemPermission::new(&path, "/g", mode);
            let error = Directory::open(&permission, &Protected::default()).err().unwrap();
            assert_eq!(error.code(), code, "{error}");
            let text = error.to_string();
            assert!(text.contains(FILESYSTEM) && text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}
