//! From a file, or its text, to a manifest or to every reason why it is none.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::document::Document;
use super::extension::OtherFile;
use super::forms::Forms;
use super::node::{Kind, Node};
use super::plugin::Manifest;
use super::problems::Problems;
use super::{fit, resolve, rules};
use crate::PluginError;

/// A longer file is no manifest. The longest that are known, those of cjm-plugin-system, have some 100 kB.
pub const LONGEST: usize = 1024 * 1024;

/// What a file in a manifest directory declares.
#[derive(Debug, Clone)]
pub enum ManifestFile {
    /// A plugin.
    Plugin(Box<Manifest>),
    /// Something of an extension's that is no plugin.
    Other(OtherFile),
}

impl ManifestFile {
    /// Reads a file of at most [`LONGEST`] bytes.
    ///
    /// # Errors
    /// `not-found` if there is no such file, else `invalid-manifest` as [`ManifestFile::parse`] has it.
    pub fn read(path: &Path, forms: &Forms) -> Result<Self, PluginError> {
        Self::parse(&text_of(path)?, path, forms)
    }

    /// Reads a file that is open; `path` is where it was found. As [`ManifestFile::read`] otherwise.
    ///
    /// # Errors
    /// `invalid-manifest`, as [`ManifestFile::parse`] has it.
    pub fn read_open(file: File, path: &Path, forms: &Forms) -> Result<Self, PluginError> {
        let is_file = file.metadata().map_err(|error| unreadable(path, &error))?.is_file();
        if !is_file {
            return Err(no_file(path));
        }
        Self::parse(&text_in(file, path)?, path, forms)
    }

    /// The plugin that it declares.
    ///
    /// # Errors
    /// `invalid-manifest` if it declares something else.
    pub fn into_plugin(self, path: &Path) -> Result<Manifest, PluginError> {
        match self {
            Self::Plugin(manifest) => Ok(*manifest),
            Self::Other(other) => {
                let OtherFile { kind, name, help, .. } = other;
                let what = format!("{} declares the {kind} {name}, not a plugin", path.display());
                Err(PluginError::invalid_manifest(what).with_help(help))
            }
        }
    }

    /// Reads a file's text; the file itself is not touched. Relative paths in it become absolute from the
    /// directory of `path`.
    ///
    /// # Errors
    /// `invalid-manifest`, whose [`PluginError::problems`] are all that is wrong (the first hundred), each with its
    /// line.
    pub fn parse(text: &str, path: &Path, forms: &Forms) -> Result<Self, PluginError> {
        let mut problems = Problems::default();
        read(text, path, forms, &mut problems).ok_or_else(|| {
            PluginError::invalid_manifest(format!("{} is not a valid manifest", path.display()))
                .with_problems(problems.into_list())
        })
    }
}

impl Manifest {
    /// Reads a plugin's manifest of our own form, as [`ManifestFile::read`] does. Keys of extensions are unknown to it.
    ///
    /// # Errors
    /// As [`ManifestFile::read`].
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        Self::parse(&text_of(path)?, path)
    }

    /// Reads the text of a plugin's manifest of our own form, as [`ManifestFile::parse`] does. Keys of extensions are unknown to it.
    ///
    /// # Errors
    /// As [`ManifestFile::parse`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, PluginError> {
        ManifestFile::parse(text, path, Forms::plain())?.into_plugin(path)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> PluginError {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => PluginError::not_found(format!("there is no manifest {shown}"))
            .with_help("check the path, or see `bivium list`"),
        _ => PluginError::invalid_manifest(format!("{shown} cannot be read: {error}"))
            .with_help("make it a file that this user may read"),
    }
}

fn no_file(path: &Path) -> PluginError {
    PluginError::invalid_manifest(format!("{} is not a file", path.display())).with_help("give a manifest's .json file")
}

fn text_of(path: &Path) -> Result<String, PluginError> {
    let unreadable = |error| unreadable(path, &error);
    // Looked at before it is opened, since opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(no_file(path));
    }
    text_in(File::open(path).map_err(unreadable)?, path)
}

fn text_in(file: File, path: &Path) -> Result<String, PluginError> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let bound = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() > LONGEST {
        return Err(PluginError::invalid_manifest(format!("{shown} is longer than 1 MiB, which no manifest is")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        PluginError::invalid_manifest(format!("{shown} is not UTF-8 (at byte {at})")).with_help("save it as UTF-8")
    })
}

/// Nothing means that there are problems.
fn read(text: &str, path: &Path, forms: &Forms, problems: &mut Problems) -> Option<ManifestFile> {
    if text.len() > LONGEST {
        problems.add(1, "this is longer than 1 MiB, which no manifest is");
        return None;
    }
    let path = resolve::absolute(path);
    // Editors on Windows write a byte-order mark, which JSON's readers may pass over.
    let mut root = Node::read(text.strip_prefix('\u{feff}').unwrap_or(text), problems)?;
    if let Some(extension) = forms.extensions().find(|extension| extension.is_other(&root)) {
        return Some(ManifestFile::Other(extension.read_other(root, &path, problems)?));
    }
    for extension in forms.extensions() {
        if !extension.lift(&mut root, problems) {
            return None;
        }
    }
    fit::check(&root, forms.schema(), problems);
    let runtime = rules::check(&root, forms, problems);
    if let Some(runtime) = runtime {
        root.set("runtime", Kind::String(runtime.as_str().to_owned()));
    }
    root.remove("$schema");
    let line = root.line;
    let given: Vec<_> =
        forms.extensions().filter_map(|extension| Some((extension, root.remove(extension.key())?))).collect();
    let mut document: Document = fit::build(root, problems)?;
    resolve::resolve(&mut document, &path);
    let Some(mut manifest) = document.into_manifest() else {
        fit::unreadable(line, &"a key of its runtime is missing", problems);
        return None;
    };
    manifest.path = path;
    for (extension, entry) in given.into_iter().filter(|(_, entry)| !matches!(entry.value.kind, Kind::Null)) {
        if !forms.is_for(extension.key(), manifest.runtime.kind()) {
            continue;
        }
        match extension.read(entry.value.into_value(), &mut manifest) {
            Ok(read) => manifest.extensions.set(read),
            Err(error) => {
                fit::unreadable(entry.line, &error, problems);
                return None;
            }
        }
    }
    Some(ManifestFile::Plugin(Box::new(manifest)))
}
