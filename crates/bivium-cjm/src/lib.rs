//! Plugins that were written for cjm-plugin-system, or for its successor cjm-substrate: what a host needs to run them unmodified.
//!
//! - [`CjmForms`] reads their manifests, in which [`CjmManifest`] is what only their plugins have, and their adapters
//!   ([`AdapterManifest`]);
//! - [`prepare`] gives the worker of such a plugin the directories, variables and secrets that it would have in its own host;
//! - [`Installation`] finds what their tools have installed, and [`Import`] says what it takes to load one of its plugins.
//!
//! The rest of a host does not know of them: it reads manifests by [`Forms`](bivium_interface::manifest::Forms) and starts workers. Their
//! classes run on the one worker that every Python plugin has, by its module `cjm`.
//!
//! ```
//! use bivium_cjm::{CjmForms, CjmManifest};
//! use bivium_interface::manifest::{Forms, ManifestFile};
//!
//! let forms = Forms::with(vec![Box::new(CjmForms)]);
//! let text = r#"{"format_version": "2.0",
//!     "install": {"python_path": "/envs/media/bin/python", "conda_env": "media"},
//!     "code": {"name": "media", "version": "1.0.0", "module": "media.plugin", "class": "Media", "taxonomy": {"domain": "media"}}}"#;
//! let path = "/manifests/media.json".as_ref();
//! let manifest = ManifestFile::parse(text, path, &forms)?.into_plugin(path)?;
//! assert_eq!(manifest.category.as_deref(), Some("media"));
//! assert_eq!(CjmManifest::of(&manifest).unwrap().conda_env.as_deref(), Some("media"));
//! # Ok::<(), bivium_interface::PluginError>(())
//! ```

mod adapter;
mod declared;
mod environment;
mod forms;
mod import;
mod installation;
mod lift;
mod manifest;
mod surface;
#[cfg(test)]
mod tests;

pub use adapter::{AdapterManifest, Unit};
pub use declared::Variables;
pub use environment::{Given, Places, prepare};
pub use forms::CjmForms;
pub use import::Import;
pub use installation::Installation;
pub use manifest::{CjmManifest, EnvVarSpec, Taxonomy};
pub use surface::{Surface, SurfaceAttribute, SurfaceMethod};
