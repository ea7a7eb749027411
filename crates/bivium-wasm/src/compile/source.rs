//! [`ComponentFile`]: the file of a component, opened once, so that what is compiled is what was hashed, even if the file is replaced
//! meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bivium_interface::{PluginError, Result, nearest_file};
use rustix::fs::OFlags;

use super::digest::Digest;
use super::stamp::FileStamp;

/// How long ago a component must have changed for its digest to be remembered: longer than the tick of any file system, and than the
/// difference between the clocks of a file server and of this machine should be.
const SETTLED: Duration = Duration::from_secs(2);

/// An open component.
pub(crate) struct ComponentFile {
    path: PathBuf,
    file: File,
    stamp: FileStamp,
    is_settled: bool,
    limit: u64,
}

impl ComponentFile {
    /// Opens a component of at most `limit` bytes.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self> {
        let failed = |error| failed(path, &error);
        // Before it is opened, since opening a device can have effects.
        check_regular(path, &path.metadata().map_err(failed)?)?;
        let mut options = OpenOptions::new();
        // Does not block on a pipe that was put there meanwhile.
        let options = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path).map_err(failed)?;
        check_regular(path, &file.metadata().map_err(failed)?)?;
        let stamp = FileStamp::of(&file).map_err(failed)?;
        let is_settled = stamp.is_settled(SETTLED);
        if stamp.size > limit {
            return Err(too_large(path, limit));
        }
        Ok(Self { path: path.to_owned(), file, stamp, is_settled, limit })
    }

    /// The stamp at the time when it was opened.
    pub(crate) fn stamp(&self) -> &FileStamp {
        &self.stamp
    }

    /// The file itself.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// The bytes and their digest, and the stamp if it may stand for that digest later.
    pub(crate) fn read(mut self) -> Result<Binary> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.stamp.size).unwrap_or_default());
        let limit = self.limit.saturating_add(1);
        (&mut self.file).take(limit).read_to_end(&mut bytes).map_err(|error| failed(&self.path, &error))?;
        if bytes.len() as u64 > self.limit {
            return Err(too_large(&self.path, self.limit));
        }
        let unchanged = FileStamp::of(&self.file).is_ok_and(|stamp| stamp == self.stamp);
        let digest = Digest::of(&bytes);
        let stamp = (self.is_settled && unchanged).then_some(self.stamp);
        Ok(Binary { bytes, digest, stamp })
    }
}

/// A component in memory.
pub(crate) struct Binary {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    /// The stamp by which the file can be recognized later, if there is one.
    pub(crate) stamp: Option<FileStamp>,
}

impl Binary {
    /// A component of at most `limit` bytes that is not in a file.
    pub(crate) fn in_memory(bytes: &[u8], name: &Path, limit: u64) -> Result<Self> {
        if bytes.len() as u64 > limit {
            return Err(too_large(name, limit));
        }
        Ok(Self { bytes: bytes.to_vec(), digest: Digest::of(bytes), stamp: None })
    }
}

/// Puts the file's path in front of the message.
pub(crate) fn at(path: &Path, error: PluginError) -> PluginError {
    let located = PluginError::new(error.code(), format!("{}: {}", path.display(), error.message()));
    match error.help() {
        Some(help) => located.with_help(help),
        None => located,
    }
}

fn check_regular(path: &Path, found: &std::fs::Metadata) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(PluginError::invalid_manifest(format!("{} is not a regular file", path.display()))
        .with_help("set `component` to a component's `.wasm` file"))
}

pub(super) fn failed(path: &Path, error: &io::Error) -> PluginError {
    let message = format!("cannot read the component {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => {
            let help = "build it, or correct `component` in the manifest";
            PluginError::not_found(message).with_help(match nearest_file(path, false) {
                Some(meant) => format!("did you mean `{meant}`? Or {help}"),
                None => help.to_owned(),
            })
        }
        io::ErrorKind::PermissionDenied => PluginError::denied(message),
        _ => PluginError::internal(message),
    }
}

fn too_large(path: &Path, limit: u64) -> PluginError {
    PluginError::resource_exhausted(format!(
        "the component {} is larger than its limit of {} MiB",
        path.display(),
        limit >> 20
    ))
    .with_help("raise `limits.component_mb` in its manifest")
}
