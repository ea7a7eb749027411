//! Writes paths as JSON, for serde's `serialize_with`. Bytes that are not UTF-8 are replaced, where serde alone would fail.

use std::path::Path;

use serde::Serializer;

/// Writes a path.
///
/// # Errors
/// Those of the serializer.
pub fn path<S: Serializer>(path: impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}

/// Writes a path, or null if there is none.
///
/// # Errors
/// Those of the serializer.
pub fn optional<S: Serializer>(path: &Option<impl AsRef<Path>>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => self::path(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// Writes a list of paths.
///
/// # Errors
/// Those of the serializer.
pub fn several<S: Serializer>(paths: &[impl AsRef<Path>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.as_ref().display().to_string()))
}
