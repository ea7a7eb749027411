//! [`open`]: one plugin without a manager, and [`Source`], what it is opened from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_exchange::Exchange;
use bivium_interface::{Manifest, PluginInterface, Result};
use bivium_records::PluginLog;
use serde_json::Value;

use crate::construct::{Constructor, Options};
use crate::extensions::forms;
use crate::sources;

/// Starts one plugin without a manager, with its own exchange. The configuration is not completed with defaults. The plugin is given by a
/// path (of a manifest, of a component, or `FILE.py:NAME`) or by a [`Manifest`] in memory, which may contain the component: see
/// [`Source`]. Call `cleanup` at the end; dropping the plugin frees what it holds, too.
///
/// # Errors
/// `not-found`, `invalid-manifest`, and every error of starting the plugin.
pub async fn open(source: impl Into<Source>, config: Value) -> Result<Arc<dyn PluginInterface>> {
    let manifest = source.into().manifest()?;
    let constructor = Constructor::new(Exchange::open()?, Options::default());
    let granted = constructor.granted(&manifest);
    sources::check(&granted, &[], std::iter::once(Arc::clone(&manifest)))
        .map_err(|error| error.with_plugin(&manifest.name))?;
    let plugin = constructor.construct(&manifest, granted, PluginLog::new(manifest.name.as_str())).await?;
    plugin.initialize(config).await?;
    Ok(plugin)
}

/// What [`open`] opens: a file, or a manifest in memory.
///
/// A path means the same as on the command line: a manifest, a component without a manifest (`FILE.wasm`), or a Python class or function
/// (`FILE.py:NAME`, `package.module:NAME`). For a component in memory, use [`Manifest::of_component_bytes`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A manifest in memory, for example from [`Manifest::parse`].
    Manifest(Arc<Manifest>),
}

impl Source {
    /// The manifest. Blocks on the file system for as long as a small file takes to read.
    pub(crate) fn manifest(self) -> Result<Arc<Manifest>> {
        match self {
            Self::File(file) => {
                let manifest = Manifest::of_file(&file, forms())?;
                // Together with what belongs to it in the same directory.
                let is_whole = manifest.extensions.is_empty();
                Ok(Arc::new(if is_whole { manifest } else { crate::discovery::read_completed(&file, &[])? }))
            }
            Self::Manifest(manifest) => Ok(manifest),
        }
    }
}

impl From<&Path> for Source {
    fn from(file: &Path) -> Self {
        Self::File(file.to_owned())
    }
}

impl From<PathBuf> for Source {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

impl From<&PathBuf> for Source {
    fn from(file: &PathBuf) -> Self {
        Self::File(file.clone())
    }
}

impl From<&str> for Source {
    fn from(file: &str) -> Self {
        Self::File(file.into())
    }
}

impl From<Manifest> for Source {
    fn from(manifest: Manifest) -> Self {
        Self::Manifest(Arc::new(manifest))
    }
}

impl From<Arc<Manifest>> for Source {
    fn from(manifest: Arc<Manifest>) -> Self {
        Self::Manifest(manifest)
    }
}

#[cfg(all(test, feature = "wasm"))]
mod tests {
    use bivium_interface::{Call, ErrorCode};
    use serde_json::json;

    use super::*;

    /// A component of one function, which adds two numbers.
    const ADD: &str = r#"(component
        (core module $m (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
        (core instance $i (instantiate $m))
        (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#;

    async fn sum(source: impl Into<Source>) -> Result<serde_json::Value> {
        let plugin = crate::open(source, json!({})).await?;
        let call = Call::new().method("add").named("a", 2).named("b", 3);
        let sum = plugin.execute(call).await;
        plugin.cleanup().await?;
        Ok(sum?.json)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_component_is_opened_from_a_file_from_bytes_and_by_a_manifest_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (file, bytes) = (dir.path().join("add.wasm"), wat::parse_str(ADD).unwrap());
        std::fs::write(&file, &bytes).unwrap();
        let text = json!({"name": "add", "version": "1", "component": "add.wasm"}).to_string();
        assert_eq!(sum(&file).await.unwrap(), 5);
        assert_eq!(sum(Manifest::of_component_bytes("add", bytes.clone()).unwrap()).await.unwrap(), 5);
        assert_eq!(sum(Manifest::parse(&text, &dir.path().join("add.json")).unwrap()).await.unwrap(), 5);

        // And by a manager.
        let builder = crate::PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data"));
        let manager = builder.manifest(Manifest::of_component_bytes("in-memory", bytes).unwrap()).build().unwrap();
        manager.load("in-memory").await.unwrap();
        manager.reload("in-memory").await.unwrap();
        let call = Call::new().method("add").named("a", 4).named("b", 4);
        assert_eq!(manager.execute("in-memory", call).await.unwrap().json, 8);
        manager.unload("in-memory").await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_component_is_refused_by_its_name() {
        let error = sum(Manifest::of_component_bytes("noise", *b"not a component").unwrap()).await.unwrap_err();
        assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidManifest, Some("noise")), "{error}");
        assert_eq!(sum("/nowhere/x.wasm").await.unwrap_err().code(), ErrorCode::NotFound);
        assert_eq!(sum("/nowhere/x.py:X").await.unwrap_err().code(), ErrorCode::NotFound);
    }
}
