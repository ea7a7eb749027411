//! Compiles components before their first load.

use std::path::Path;

use bivium_interface::manifest::WasmPlugin;
use bivium_interface::{Manifest, PluginError, Result};
use bivium_wasm::Compilation;

use super::PluginManager;

impl PluginManager {
    /// Compiles a plugin's component into the cache, unless it is there already, and checks that it can be loaded. None of its code runs.
    /// Dropping the future stops a compiler in a child process.
    ///
    /// # Errors
    /// `not-found`, `invalid-manifest`; `invalid-input` for a Python plugin; `resource-exhausted` and `timeout` if compilation exceeds its
    /// limits.
    pub async fn compile(&self, name: &str) -> Result<Compilation> {
        let manifest = self.manifest(name)?;
        let Some(plugin) = manifest.wasm() else {
            return Err(PluginError::invalid_input("a Python plugin has no component to compile").with_plugin(name));
        };
        self.inner.constructor.compile(&manifest, plugin).await.map_err(|error| error.with_plugin(name))
    }

    /// As [`compile`](Self::compile), for a component without a manifest. The default limits apply.
    ///
    /// # Errors
    /// As [`compile`](Self::compile); `invalid-input` if no plugin name can be made from the file's name.
    pub async fn compile_file(&self, component: &Path) -> Result<Compilation> {
        let manifest = Manifest::of_component(component)?;
        // The error names the path as it was given.
        let plugin = WasmPlugin::of_file(component);
        self.inner.constructor.compile(&manifest, &plugin).await
    }
}
