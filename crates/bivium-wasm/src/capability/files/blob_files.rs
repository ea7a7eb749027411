//! The blobs of a call as read-only files, for guests that only know files (`permissions.blob_files`).
//!
//! A guest sees the directory [`GUEST`], and in it the n-th blob of its call under two names: `n`, and `n` with the extension of its
//! media type. Nothing is copied or linked: the guest opens the blob's own file, wherever it lies. On disk there is a directory in
//! the exchange with empty files of the same names, which are made when the guest lists the directory and are never opened. After
//! the call a file that is still open reads as empty, except through a stream that the guest keeps.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bivium_exchange::{Area, Exchange};
use bivium_interface::{Blob, PluginError, Result, suffix_of_media_type};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File as OpenFile};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::directory::{BLOB_FILES, Directory};

/// The path that the guest sees.
pub(super) const GUEST: &str = "/blobs";

/// The directory of one instance.
pub(super) struct BlobFiles {
    pub(super) directory: Directory,
    area: Area,
    /// Replaces a blob whose call has ended.
    pub(super) nothing: Arc<File>,
}

impl BlobFiles {
    pub(super) fn new(exchange: &Exchange) -> Result<Self> {
        let area = exchange.area("blobs")?;
        let open = |path: &Path| {
            let failed = |error| PluginError::internal(format!("cannot open {} for blobs: {error}", path.display()));
            File::open(path).map_err(failed)
        };
        let (dir, nothing) = (open(area.path())?, open(Path::new("/dev/null"))?);
        let directory = Directory {
            key: BLOB_FILES,
            guest: GUEST.to_owned(),
            leads_to_kernel: false,
            guarded: None,
            shown: format!("read the blobs of its calls as {GUEST}"),
            dir: Dir::new(dir, FsPerms::ReadOnly, OpenMode::READ, false),
        };
        Ok(Self { directory, area, nothing: Arc::new(nothing) })
    }

    pub(super) fn is_there(&self) -> bool {
        self.area.is_there()
    }

    /// Returns a function that makes files with the names of these blobs in the directory. It blocks on the file system.
    pub(super) fn lister(&self, blobs: &[Blob]) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let path = self.area.path().to_owned();
        let names: Vec<String> = blobs.iter().enumerate().map(|(n, blob)| format!("{n}{}", suffix(blob))).collect();
        move || {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if !names.iter().any(|name| entry.file_name() == name.as_str()) {
                    fs::remove_file(entry.path())?;
                }
            }
            names.iter().try_for_each(|name| touch(&path.join(name)))
        }
    }
}

fn touch(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).map(drop)
}

fn suffix(blob: &Blob) -> String {
    suffix_of_media_type(blob.media_type())
}

/// What a path in the directory of blobs names.
pub(crate) enum BlobName {
    Blob(usize, Blob),
    /// A blob that the call does not have.
    Missing,
    /// Not a blob: the directory itself, or a path out of it.
    Other,
}

impl BlobName {
    pub(super) fn find(path: &str, blobs: &[Blob]) -> Self {
        let name = path.strip_prefix("./").unwrap_or(path);
        let (digits, extension) = name.split_at(name.find('.').unwrap_or(name.len()));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || extension.contains('/') {
            return Self::Other;
        }
        // Each number has one spelling.
        let canonical = digits == "0" || !digits.starts_with('0');
        match digits.parse().ok().and_then(|n: usize| Some((n, blobs.get(n)?))) {
            Some((n, blob)) if canonical && (extension.is_empty() || extension == suffix(blob)) => {
                Self::Blob(n, blob.clone())
            }
            _ => Self::Missing,
        }
    }
}

/// Opens a blob. Blocks on the file system.
pub(super) fn open(blob: &Blob) -> io::Result<Descriptor> {
    Ok(Descriptor::File(OpenFile::new(blob.open()?, FsPerms::ReadOnly, OpenMode::READ, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_two_names_and_no_other() {
        let blobs = [Blob::new("/x".into(), "audio/wav", 1, None), Blob::new("/y".into(), "text/plain", 1, None)];
        let found = |path: &str| match BlobName::find(path, &blobs) {
            BlobName::Blob(n, blob) => format!("{n} {}", blob.path().display()),
            BlobName::Missing => "missing".to_owned(),
            BlobName::Other => "other".to_owned(),
        };
        for path in ["0", "0.wav", "./0.wav"] {
            assert_eq!(found(path), "0 /x");
        }
        assert_eq!(found("1.txt"), "1 /y");
        for path in ["2", "0.txt", "00", "01.txt", "0.", "99999999999999999999999"] {
            assert_eq!(found(path), "missing", "{path}");
        }
        for path in ["", ".", "..", "../0", "0/../../x", "0.wav/..", "/0", "x", "-1", "0x"] {
            assert_eq!(found(path), "other", "{path}");
        }
    }
}
