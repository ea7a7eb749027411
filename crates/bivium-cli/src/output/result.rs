//! Prints results, and stores their files.
//!
//! In a printed result `{"$blob": {"media_type", "size", "path"}}` stands for a file, and `path` is where it is stored. Without
//! `--out`, files of the exchange are deleted when the program ends. The name of a stored file is made from its place in the result
//! (`segments-0-audio.wav`) and has only letters, digits, `-` and `_`, so a plugin cannot choose another directory or a hidden
//! file. A file is stored whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bivium::{Blob, Payload, PluginError, Result, suffix_of_media_type};
use serde_json::{Value, json};

use crate::arguments::BLOB;

/// The longest name of a stored file, without number and suffix.
const LONGEST_NAME: usize = 80;

/// The directory for files of results, if `--out` gives one.
pub(crate) struct ResultFiles {
    dir: Option<PathBuf>,
    force: bool,
    names: BTreeSet<String>,
    has_unkept: bool,
}

impl ResultFiles {
    /// Creates the directory. Fails if it is not empty, unless `force` is set.
    pub(crate) fn new(dir: Option<&Path>, force: bool) -> Result<Self> {
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir).map_err(|error| cannot("make", dir, &error))?;
            let mut entries = std::fs::read_dir(dir).map_err(|error| cannot("look into", dir, &error))?;
            if !force && entries.next().is_some() {
                let what = format!("the directory {} for the result's files is not empty", dir.display());
                return Err(PluginError::invalid_input(what)
                    .with_help("name a new one, or let files of the same names be replaced with --force"));
            }
        }
        Ok(Self { dir: dir.map(Path::to_owned), force, names: BTreeSet::new(), has_unkept: false })
    }

    /// Whether a result had a file that was not stored.
    pub(crate) fn has_unkept(&self) -> bool {
        self.has_unkept
    }

    /// Stores the result's files and returns the JSON to print. `place` says which of several results it is. Takes the JSON, which may
    /// be large, out of the result. Blocks while files are copied.
    pub(crate) fn present(&mut self, result: &mut Payload, place: &str) -> Result<Value> {
        let mut json = std::mem::take(&mut result.json);
        if !result.blobs.is_empty() {
            self.value(&mut json, &mut place.to_owned(), result, &mut BTreeMap::new())?;
        }
        Ok(json)
    }

    fn value(
        &mut self,
        value: &mut Value,
        place: &mut String,
        result: &Payload,
        paths: &mut BTreeMap<PathBuf, PathBuf>,
    ) -> Result<()> {
        if let Some(blob) = result.blob(value) {
            *value = self.file(blob, place, paths)?;
            return Ok(());
        }
        let len = place.len();
        let mut within = |item: &mut Value, step: &dyn fmt::Display| {
            place.push('-');
            // Cannot fail for a string.
            let _ = write!(place, "{step}");
            let done = self.value(item, place, result, paths);
            place.truncate(len);
            done
        };
        match value {
            Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(n, item)| within(item, &n)),
            Value::Object(object) => object.iter_mut().try_for_each(|(key, item)| within(item, key)),
            _ => Ok(()),
        }
    }

    /// The JSON that stands for a file. A file that occurs several times in a result is stored once.
    fn file(&mut self, blob: &Blob, place: &str, paths: &mut BTreeMap<PathBuf, PathBuf>) -> Result<Value> {
        let mut shown = json!({"media_type": blob.media_type(), "size": blob.size()});
        let path = match (paths.get(blob.path()), self.dir.clone()) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(dir)) => {
                let path = self.keep(blob, &dir, place)?;
                paths.insert(blob.path().to_owned(), path.clone());
                Some(path)
            }
            // A file of the caller that the plugin returned unchanged. It stays where it is.
            (None, None) if !blob.is_owned() => Some(blob.path().to_owned()),
            (None, None) => {
                self.has_unkept = true;
                None
            }
        };
        if let (Some(path), Some(object)) = (path, shown.as_object_mut()) {
            object.insert("path".to_owned(), path.to_string_lossy().into());
        }
        Ok(json!({ BLOB: shown }))
    }

    fn keep(&mut self, blob: &Blob, dir: &Path, place: &str) -> Result<PathBuf> {
        let path = dir.join(self.name(place, &suffix_of_media_type(blob.media_type())));
        let copy = || -> io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(".bivium-")
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(dir)?;
            io::copy(&mut blob.open()?, &mut file)?;
            if self.force {
                file.persist(&path)?
            } else {
                file.persist_noclobber(&path)?
            };
            Ok(())
        };
        copy().map_err(|error| cannot("write", &path, &error))?;
        Ok(path)
    }

    /// A name that no other file of this run has.
    fn name(&mut self, place: &str, suffix: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let mut stem: String = place.chars().map(plain).collect::<String>().trim_matches('-').to_owned();
        stem.truncate(LONGEST_NAME);
        if stem.is_empty() {
            "result".clone_into(&mut stem);
        }
        let first = format!("{stem}{suffix}");
        let numbered = (2_u64..).map(|n| format!("{stem}-{n}{suffix}"));
        let free = std::iter::once(first).chain(numbered).find(|name| self.names.insert(name.clone()));
        free.unwrap_or_default()
    }
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> PluginError {
    let what = format!("cannot {verb} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PluginError::denied(what),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PluginError::resource_exhausted(what),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => PluginError::invalid_input(what),
        _ => PluginError::internal(what),
    }
}

#[cfg(test)]
mod tests {
    use bivium::ErrorCode;

    use super::*;

    /// A result with two files, of which the first belongs to the caller.
    fn result(dir: &Path, json: Value) -> Payload {
        let blob = |name: &str, media_type: &str, keep| {
            let path = dir.join(name);
            std::fs::write(&path, name).unwrap();
            Blob::new(path, media_type, 1, keep)
        };
        Payload { json, blobs: vec![blob("mine", "audio/wav", None), blob("theirs", "x/y", Some(Box::new(())))] }
    }

    #[test]
    fn files_are_kept_under_plain_names_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/out");
        let json = json!({"../a b": {"$blob": 0}, "-a-b": {"$blob": 1}, "again": [{"$blob": 0}], "$$blob": 1});
        let mut result_files = ResultFiles::new(Some(&out), false).unwrap();
        let shown = result_files.present(&mut result(dir.path(), json), "").unwrap();
        let path = |name: &str| out.join(name).to_string_lossy().into_owned();
        assert_eq!(shown["../a b"]["$blob"]["path"], path("a-b.wav"));
        assert_eq!(shown["-a-b"]["$blob"]["path"], path("a-b.bin"));
        assert_eq!(shown["again"][0], shown["../a b"]);
        assert_eq!(shown["$$blob"], 1);
        assert_eq!(std::fs::read_to_string(out.join("a-b.bin")).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);

        let shown = result_files.present(&mut result(dir.path(), json!({"$blob": 1})), "a-b").unwrap();
        assert_eq!(shown["$blob"]["path"], path("a-b-2.bin"));
    }

    #[test]
    fn without_a_directory_only_the_callers_files_have_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let mut result_files = ResultFiles::new(None, false).unwrap();
        let own = result_files.present(&mut result(dir.path(), json!({"$blob": 0})), "").unwrap();
        assert!(!result_files.has_unkept() && own["$blob"]["path"].is_string());
        let exchanged = result_files.present(&mut result(dir.path(), json!({"$blob": 1})), "").unwrap();
        assert_eq!(exchanged, json!({"$blob": {"media_type": "x/y", "size": 1}}));
        assert!(result_files.has_unkept());
    }

    #[test]
    fn nothing_is_replaced_unless_that_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut result_files = ResultFiles::new(Some(&out), false).unwrap();
        std::fs::write(out.join("result.wav"), "before").unwrap();
        let result = || result(dir.path(), json!({"$blob": 0}));
        let code = |result: Result<Value>| result.unwrap_err().code();
        assert_eq!(code(result_files.present(&mut result(), "")), ErrorCode::InvalidInput);
        assert_eq!(ResultFiles::new(Some(&out), false).err().unwrap().code(), ErrorCode::InvalidInput);
        assert_eq!(std::fs::read_to_string(out.join("result.wav")).unwrap(), "before");
        ResultFiles::new(Some(&out), true).unwrap().present(&mut result(), "").unwrap();
        assert_eq!(std::fs::read_to_string(out.join("result.wav")).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    }
}
