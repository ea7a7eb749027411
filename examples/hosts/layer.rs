//! A layer of the host's own: a cache around every plugin, on both runtimes.
//!
//! `cargo run --package bivium --example layer`, after `cargo xtask guests`, which puts the example components in place

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bivium::{Call, Payload, PluginError, PluginInterface, PluginManager, Result, Wrapper, async_trait};
use serde_json::Value;

/// How many answers are kept of each plugin.
const MOST: usize = 1000;

/// Returns the earlier answer to the same call. For plugins that always give the same answer to the same call.
struct Cached {
    inner: Arc<dyn PluginInterface>,
    answers: Mutex<HashMap<String, Payload>>,
}

/// The layer. It is put around each plugin when the plugin is loaded.
pub fn cached(inner: Arc<dyn PluginInterface>) -> Arc<dyn PluginInterface> {
    Arc::new(Cached { inner, answers: Mutex::default() })
}

#[async_trait]
impl Wrapper for Cached {
    fn inner(&self) -> &Arc<dyn PluginInterface> {
        &self.inner
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        // The content of blobs is not part of the key, so calls with blobs are not cached.
        if !call.blobs.is_empty() {
            return self.inner.execute(call).await;
        }
        let key = serde_json::json!([call.method, call.positional, call.named]).to_string();
        if let Some(known) = self.answers().get(&key) {
            return Ok(known.clone());
        }
        let answer = self.inner.execute(call).await?;
        let mut answers = self.answers();
        if answers.len() < MOST {
            answers.insert(key, answer.clone());
        }
        Ok(answer)
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        self.inner.initialize(config).await?;
        // With another configuration the answers may be different.
        self.answers().clear();
        Ok(())
    }
}

impl Cached {
    fn answers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Payload>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> Result<(), PluginError> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plugins");
    let builder = PluginManager::builder().manifests(plugins).layer(cached);
    let manager = bivium::blocking::PluginManager::build(builder)?;
    for name in ["wordcount", "redact"] {
        manager.load(name)?;
        for _ in 0..3 {
            let answer = manager.execute(name, Call::new().named("text", "a b a"))?;
            println!("{name}: {}", answer.json);
        }
        println!("the plugin was called {} time", manager.stats(name)?.calls);
    }
    Ok(())
}
