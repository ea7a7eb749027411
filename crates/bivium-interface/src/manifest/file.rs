//! From a file, or its text, to a manifest or to every reason why it is none.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::document::Document;
use super::node::{Kind, Node};
use super::problems::Problems;
use super::{AdapterManifest, Manifest, fit, lift, resolve, rules, schema};
use crate::PluginError;

/// A longer file is no manifest. The longest in the wild are the ancestor's, of some 100 kB.
pub const LONGEST: usize = 1024 * 1024;

/// What a file in a manifest directory declares.
#[derive(Debug, Clone, PartialEq)]
pub enum ManifestFile {
    /// A plugin.
    Plugin(Box<Manifest>),
    /// An adapter of the ancestor's.
    Adapter(Box<AdapterManifest>),
}

impl ManifestFile {
    /// Reads a file of at most [`LONGEST`] bytes.
    ///
    /// # Errors
    /// `not-found` if there is no such file, else `invalid-manifest` as [`ManifestFile::parse`] has it.
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        Self::parse(&text_of(path)?, path)
    }

    /// Reads a file that is open; `path` is where it was found. As [`ManifestFile::read`] otherwise.
    ///
    /// # Errors
    /// `invalid-manifest`, as [`ManifestFile::parse`] has it.
    pub fn read_open(file: File, path: &Path) -> Result<Self, PluginError> {
        let is_file = file.metadata().map_err(|error| unreadable(path, &error))?.is_file();
        if !is_file {
            return Err(no_file(path));
        }
        Self::parse(&text_in(file, path)?, path)
    }

    /// The plugin that it declares.
    ///
    /// # Errors
    /// `invalid-manifest` if it declares an adapter.
    pub fn into_plugin(self, path: &Path) -> Result<Manifest, PluginError> {
        match self {
            Self::Plugin(manifest) => Ok(*manifest),
            Self::Adapter(adapter) => Err(PluginError::invalid_manifest(format!(
                "{} declares the adapter {}, not a plugin",
                path.display(),
                adapter.name
            ))
            .with_help("give the manifest of the plugin that it adapts")),
        }
    }

    /// Reads a file's text; the file itself is not touched. Relative paths in it become absolute from the
    /// directory of `path`.
    ///
    /// # Errors
    /// `invalid-manifest`, whose [`PluginError::problems`] are all that is wrong (the first hundred), each with its
    /// line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PluginError> {
        let mut problems = Problems::default();
        read(text, path, &mut problems).ok_or_else(|| {
            PluginError::invalid_manifest(format!("{} is not a valid manifest", path.display()))
                .with_problems(problems.into_list())
        })
    }
}

impl Manifest {
    /// Reads a plugin's manifest, as [`ManifestFile::read`] does.
    ///
    /// # Errors
    /// As [`ManifestFile::read`], and `invalid-manifest` if the file declares an adapter.
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        Self::parse(&text_of(path)?, path)
    }

    /// Reads the text of a plugin's manifest, as [`ManifestFile::parse`] does.
    ///
    /// # Errors
    /// As [`ManifestFile::parse`], and `invalid-manifest` if the text declares an adapter.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PluginError> {
        ManifestFile::parse(text, path)?.into_plugin(path)
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
fn read(text: &str, path: &Path, problems: &mut Problems) -> Option<ManifestFile> {
    if text.len() > LONGEST {
        problems.add(1, "this is longer than 1 MiB, which no manifest is");
        return None;
    }
    let path = resolve::absolute(path);
    // Editors on Windows write a byte-order mark, which JSON's readers may pass over.
    let mut root = Node::read(text.strip_prefix('\u{feff}').unwrap_or(text), problems)?;
    if root.get("unit").and_then(|unit| unit.value.as_str()) == Some("adapter") {
        fit::check(&root, &schema::ADAPTER, problems);
        let mut adapter: AdapterManifest = build(root, problems)?;
        adapter.path = path;
        return Some(ManifestFile::Adapter(Box::new(adapter)));
    }
    if !lift::lift(&mut root, problems) {
        return None;
    }
    fit::check(&root, &schema::PLUGIN, problems);
    if let Some(runtime) = rules::check(&root, &schema::PLUGIN, problems) {
        root.set("runtime", Kind::String(runtime.as_str().to_owned()));
    }
    root.remove("$schema");
    let line = root.line;
    let mut document: Document = build(root, problems)?;
    document.category = category(&document);
    resolve::resolve(&mut document, &path);
    let Some(mut manifest) = document.into_manifest() else {
        problems.add(line, "this manifest cannot be read: a key of its runtime is missing");
        return None;
    };
    manifest.path = path;
    Some(ManifestFile::Plugin(Box::new(manifest)))
}

/// Makes the typed value of a tree without problems.
fn build<T: DeserializeOwned>(root: Node, problems: &mut Problems) -> Option<T> {
    if !problems.is_empty() {
        return None;
    }
    let line = root.line;
    serde_json::from_value::<T>(root.into_value())
        // Then the schema says less than the type, which is a fault of ours.
        .map_err(|error| problems.add(line, format!("this manifest cannot be read: {error}")))
        .ok()
}

/// The ancestor's order: an override, the category itself, the domain and, failing that, the role.
fn category(document: &Document) -> Option<String> {
    let ancestor = document.ancestor.as_ref();
    let taxonomy = ancestor.and_then(|ancestor| ancestor.taxonomy.as_ref());
    let candidates = [
        ancestor.and_then(|ancestor| ancestor.category_override.as_ref()),
        document.category.as_ref(),
        taxonomy.and_then(|taxonomy| taxonomy.domain.as_ref()),
        taxonomy.and_then(|taxonomy| taxonomy.role.as_ref()),
    ];
    candidates.into_iter().flatten().find(|text| !text.is_empty()).cloned()
}
