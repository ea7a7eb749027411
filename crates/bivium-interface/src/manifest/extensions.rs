//! [`Extensions`]: what a manifest says under keys that only some hosts know.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::MethodInfo;

/// What a manifest says under the key of an extension. A [`ManifestExtension`](super::ManifestExtension) reads it.
pub trait Extension: Any + fmt::Debug + Send + Sync {
    /// The key in the manifest.
    fn key(&self) -> &'static str;

    /// The JSON that stands under the key.
    fn to_value(&self) -> Value;

    /// Whether the other one is of the same type and says the same.
    fn is_same(&self, other: &dyn Extension) -> bool;

    /// The schema that configurations are checked against, where that is not the plugin's own `schema`, which then gives the
    /// defaults alone.
    fn config_checks(&self, schema: &Value) -> Option<Value> {
        let _ = schema;
        None
    }

    /// The plugin's methods, where the manifest names them.
    fn methods(&self) -> Option<Vec<MethodInfo>> {
        None
    }
}

/// The extensions of one manifest, each under its own key. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Extensions(Vec<Arc<dyn Extension>>);

impl Extensions {
    /// The extension of this type.
    #[must_use]
    pub fn get<T: Extension>(&self) -> Option<&T> {
        self.iter().find_map(|extension| (extension as &dyn Any).downcast_ref())
    }

    /// Adds an extension, in place of another with its key.
    pub fn set(&mut self, extension: Arc<dyn Extension>) {
        self.0.retain(|known| known.key() != extension.key());
        self.0.push(extension);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Extension> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Extensions {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.iter().all(|one| other.iter().any(|other| one.is_same(other)))
    }
}

/// As JSON an object with the key of each.
impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|extension| (extension.key(), extension.to_value())))
    }
}
