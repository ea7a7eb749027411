//! The manifest: the JSON file that declares a plugin.
//!
//! Only the types in this folder define the keys, their types, their bounds and their runtimes (`x-runtime`). `schemars` makes a schema
//! from them ([`Forms::schema`]). Editors use this schema, and files are checked against it, so the two cannot differ:
//!
//! - `node` reads the JSON and records the lines,
//! - `fit` compares the file with the schema, and `rules` checks how keys fit together,
//! - `resolve` makes paths absolute, and `document` makes a [`Manifest`],
//! - `file` does all this, in this order, for the [`Forms`] of file that the host knows.
//!
//! A host can read more keys and forms of file, for plugins that were written for another host: [`ManifestExtension`].
//!
//! A manifest is untrusted. Nothing here opens a file that it names, and every count and number in it is limited.

mod bare;
mod checked;
mod document;
mod extension;
mod extensions;
mod file;
mod fit;
mod forms;
mod limits;
mod node;
mod permissions;
mod plugin;
mod problems;
mod python;
mod requirement;
mod resolve;
mod resources;
mod rules;
mod runtime;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod text;

pub use checked::CheckedText;
pub use extension::{ManifestExtension, OtherFile};
pub use extensions::{Extension, Extensions};
pub use file::{LONGEST, ManifestFile};
pub use fit::fitted;
pub use forms::Forms;
pub use limits::Limits;
pub use node::{Entry, Kind, Node};
pub use permissions::{FilesystemMode, FilesystemPermission, Permissions, SecretPermission};
pub use plugin::Manifest;
pub use problems::{Problems, quoted};
pub use python::{PythonKind, PythonObject, PythonPlugin};
pub use requirement::requirement_fault;
pub use resources::Resources;
pub use rules::refuse_secret_variable;
pub use runtime::{Component, Instances, Isolation, Runtime, RuntimeKind, WasmPlugin};
