//! [`Blob`]: large data that travels as a file.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{PluginError, Result};

/// A file-backed DTO: a path, a media type and a size. Cheap to clone; clones are the same file.
///
/// A blob made by an exchange is deleted when its last handle is dropped; one made by
/// [`by_reference`](Self::by_reference) is the caller's file and is never deleted.
#[derive(Clone)]
pub struct Blob(Arc<BlobFile>);

struct BlobFile {
    path: PathBuf,
    media_type: String,
    size: u64,
    keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Blob {
    /// A blob for an existing file. `keep` is dropped with the last handle; an owner of files can use it to delete the file.
    #[must_use]
    pub fn new(path: PathBuf, media_type: &str, size: u64, keep: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self(Arc::new(BlobFile { path, media_type: media_type.to_owned(), size, keep }))
    }

    /// A file of the caller, used without a copy. It must not change while calls use it. If no media type is given, it is taken
    /// from the file name's extension.
    ///
    /// # Errors
    /// `not-found` if the file does not exist, `invalid-input` if it is not a regular file, `denied` or `internal` if
    /// it cannot be inspected.
    pub fn by_reference(path: impl AsRef<Path>, media_type: Option<&str>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |error: io::Error| {
            let what = format!("cannot use the file {} as a blob: {error}", path.display());
            match error.kind() {
                io::ErrorKind::NotFound => PluginError::not_found(what),
                io::ErrorKind::PermissionDenied => PluginError::denied(what),
                _ => PluginError::internal(what),
            }
        };
        let absolute = path.canonicalize().map_err(failed)?;
        let metadata = absolute.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(PluginError::invalid_input(format!("{} is not a regular file", path.display())));
        }
        let media_type = media_type.unwrap_or_else(|| media_type_of_path(&absolute));
        Ok(Self::new(absolute.clone(), media_type, metadata.len(), None))
    }

    /// The file's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The media type (RFC 6838), for example `audio/wav`.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.0.media_type
    }

    /// The length in bytes when the blob was made.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Whether the file is deleted with the last handle.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.0.keep.is_some()
    }

    /// Opens the file for reading. Do not map it into memory: its writer may still be able to truncate it, and reading a
    /// truncated map kills the process.
    ///
    /// # Errors
    /// Those of [`File::open`].
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.0.path)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {}, {} bytes)", self.0.path.display(), self.0.media_type, self.0.size)
    }
}

/// A host's own type for large data that can be written to a file and so become a blob.
pub trait FileBackedDto {
    /// The media type of the file.
    fn media_type(&self) -> &str {
        "application/octet-stream"
    }

    /// Returns the path of a file with the data. A new file in `dir` belongs to the exchange and is deleted with the last handle; a
    /// file elsewhere is used by reference and not deleted.
    ///
    /// # Errors
    /// The error of writing the file.
    fn to_temp_file(&self, dir: &Path) -> io::Result<PathBuf>;
}

/// Common media types, with the file name extensions that Python libraries expect. The types are registered with IANA or in common
/// use (`application/x-npy`).
const MEDIA_TYPES: &[(&str, &str)] = &[
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
    ("json", "application/json"),
    ("npy", "application/x-npy"),
    ("npz", "application/x-npz"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("md", "text/markdown"),
    ("vtt", "text/vtt"),
    ("srt", "application/x-subrip"),
];

/// The media type for a file name's extension; `application/octet-stream` if unknown.
#[must_use]
pub fn media_type_of_path(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    MEDIA_TYPES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(extension))
        .map_or("application/octet-stream", |(_, media_type)| media_type)
}

/// The file name suffix for a media type, for example `.wav`; `.bin` if unknown.
#[must_use]
pub fn suffix_of_media_type(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let known = MEDIA_TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(essence));
    format!(".{}", known.map_or("bin", |(extension, _)| extension))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn extensions_and_media_types_agree() {
        for (extension, media_type) in MEDIA_TYPES {
            assert_eq!(media_type_of_path(Path::new(&format!("a.{extension}"))), *media_type);
        }
        assert_eq!(media_type_of_path(Path::new("A.WAV")), "audio/wav");
        assert_eq!(media_type_of_path(Path::new("noext")), "application/octet-stream");
        assert_eq!(suffix_of_media_type("image/jpeg"), ".jpg");
        assert_eq!(suffix_of_media_type("text/plain; charset=utf-8"), ".txt");
        assert_eq!(suffix_of_media_type("x/y"), ".bin");
    }

    #[test]
    fn only_regular_files_are_passed_by_reference() {
        assert_eq!(Blob::by_reference("/no/such/file", None).unwrap_err().code(), ErrorCode::NotFound);
        assert_eq!(Blob::by_reference("/", None).unwrap_err().code(), ErrorCode::InvalidInput);
        let blob = Blob::by_reference(env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml", None).unwrap();
        assert!(!blob.is_owned() && blob.size() > 0);
    }
}
