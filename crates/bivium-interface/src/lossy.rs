//! Paths in JSON, for serde's `serialize_with`: what is not UTF-8 in one is replaced, where serde would give an error.

use std::path::Path;

use serde::Serializer;

/// A path as people are shown it.
///
/// # Errors
/// Those of the serializer.
pub fn path<S: Serializer>(path: impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}

/// The same where there may be none.
///
/// # Errors
/// Those of the serializer.
pub fn optional<S: Serializer>(path: &Option<impl AsRef<Path>>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => self::path(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// Several.
///
/// # Errors
/// Those of the serializer.
pub fn several<S: Serializer>(paths: &[impl AsRef<Path>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.as_ref().display().to_string()))
}
