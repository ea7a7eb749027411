//! [`Site`]: the paths of everything that is measured, and directories for the files of cases.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bivium::{ManagerBuilder, PluginManager};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Arguments;

/// What all cases use.
pub struct Site {
    pub quick: bool,
    pub python: PathBuf,
    pub cjm: Option<PathBuf>,
    pub substrate: Option<PathBuf>,
    pub fastapi: Option<PathBuf>,
    pub languages: Option<PathBuf>,
    pub program: Option<PathBuf>,
    dir: TempDir,
}

impl Site {
    /// # Errors
    /// If no directory can be created.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            quick: arguments.quick,
            python: arguments.python.clone(),
            cjm: arguments.cjm.clone(),
            substrate: arguments.substrate.clone(),
            fastapi: arguments.fastapi.clone(),
            languages: arguments.languages.clone(),
            program: arguments.program.clone(),
            dir: tempfile::Builder::new().prefix("bivium-bench-").tempdir()?,
        })
    }

    /// The number of rounds: `full` in a full run, and a few in a quick one.
    #[must_use]
    pub fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10).max(2) } else { full }
    }

    /// A new directory, which is deleted with the site.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn directory(&self) -> Result<PathBuf> {
        Ok(tempfile::Builder::new().tempdir_in(&self.dir)?.keep())
    }

    /// A file of the repository.
    #[must_use]
    pub fn repository(&self, path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    /// A guest of `bench/guests`.
    #[must_use]
    pub fn guest(&self, name: &str) -> PathBuf {
        self.repository(&format!("bench/guests/target/guests/{name}.wasm"))
    }

    /// The manifest of the component that is measured.
    #[must_use]
    pub fn echo(&self) -> Value {
        json!({"name": "echo", "version": "1.0.0", "component": self.guest("echo")})
    }

    /// A builder for a manager with these manifests. Nothing is loaded.
    ///
    /// # Errors
    /// If the manifests cannot be written.
    pub fn builder(&self, manifests: &[Value]) -> Result<ManagerBuilder> {
        let directory = self.directory()?;
        for manifest in manifests {
            let name = manifest.get("name").and_then(Value::as_str).context("a manifest needs a name")?;
            std::fs::write(directory.join(format!("{name}.json")), manifest.to_string())?;
        }
        Ok(PluginManager::builder().manifests(&directory).data_dir(directory.join("data")))
    }

    /// A manager with these manifests, loaded. Everything else has its default, except the data directory, which is not the user's.
    ///
    /// # Errors
    /// If it cannot be created, or a plugin does not load.
    pub async fn manager(&self, manifests: &[Value]) -> Result<PluginManager> {
        let manager = self.builder(manifests)?.build()?;
        for manifest in manifests {
            if let Some(name) = manifest.get("name").and_then(Value::as_str) {
                manager.load(name).await?;
            }
        }
        Ok(manager)
    }
}
