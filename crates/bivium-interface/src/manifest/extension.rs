//! [`ManifestExtension`]: a key of manifests, and forms of file, for plugins that were written for another host.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::extensions::Extension;
use super::node::Node;
use super::plugin::Manifest;
use super::problems::Problems;

/// A key at the top of manifests that only some hosts know, and forms of file that are turned into manifests with that key.
/// [`Forms`](super::Forms) are made of them.
///
/// A file is read in this order: [`is_other`](Self::is_other), [`lift`](Self::lift), the check against the schema, [`check`](Self::check),
/// [`read`](Self::read). No method opens a file.
pub trait ManifestExtension: Send + Sync {
    /// The key, under which an object stands.
    fn key(&self) -> &'static str;

    /// The schemas of keys at the top of a file: of [`key`](Self::key), and of those that [`lift`](Self::lift) moves below it. Keys
    /// that only plugins of one runtime have say so by `x-runtime`.
    fn properties(&self, generator: &mut SchemaGenerator) -> Map<String, Value>;

    /// Keys at the top of a file that [`lift`](Self::lift) and [`is_other`](Self::is_other) know, and the schema does not.
    fn other_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// Turns another form of file into ours, before anything is checked. Gives false if nothing more of the file can be said than the
    /// problems that it has added.
    fn lift(&self, root: &mut Node, problems: &mut Problems) -> bool {
        let _ = (root, problems);
        true
    }

    /// Notes what the schema cannot say of a file in our form.
    fn check(&self, root: &Node, problems: &mut Problems) {
        let _ = (root, problems);
    }

    /// Reads what stands under the key in a file without problems. `manifest` is what the rest of the file says; it may be completed.
    ///
    /// # Errors
    /// Those of serde. Then the schema allows what the type does not.
    fn read(&self, value: Value, manifest: &mut Manifest) -> serde_json::Result<Arc<dyn Extension>>;

    /// Whether a file declares something of this extension's that is no plugin.
    fn is_other(&self, root: &Node) -> bool {
        let _ = root;
        false
    }

    /// Reads such a file, which lies at `path`. None means that it has added problems.
    fn read_other(&self, root: Node, path: &Path, problems: &mut Problems) -> Option<OtherFile> {
        let _ = (root, path, problems);
        None
    }

    /// Whether a file of this name is such a file, and is read too where a manifest in its directory is given by its path.
    fn is_beside(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Gives a plugin what belongs to it of the other files that were found.
    fn complete(&self, manifest: &mut Manifest, found: &[OtherFile]) {
        let _ = (manifest, found);
    }
}

/// A file among the manifests that declares something of an extension's, and no plugin. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OtherFile {
    /// What kind of thing it declares, for example `adapter`.
    pub kind: &'static str,
    /// The name of what it declares.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What to do if it was given where a plugin's manifest is wanted.
    pub help: &'static str,
    value: Arc<dyn Any + Send + Sync>,
}

impl OtherFile {
    /// What an extension has read from a file.
    pub fn new<T: Any + Send + Sync>(
        kind: &'static str,
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        help: &'static str,
        value: Arc<T>,
    ) -> Self {
        Self { kind, name: name.into(), path: path.into(), help, value }
    }

    /// What the file says, if the extension reads this type.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.value).downcast().ok()
    }
}
