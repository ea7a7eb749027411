//! [`PolicyErrors`]: a plugin under a host's policy. If the policy is the cause of an error, the error names it.

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::{Call, CallId, Granted, MethodInfo, Payload, PayloadStream, PluginInterface, Result, Stats};
use serde_json::Value;

/// Wraps the plugin itself, inside all layers, because any method of the plugin may start an instance and fail.
pub(crate) struct PolicyErrors {
    pub(crate) plugin: Arc<dyn PluginInterface>,
    pub(crate) granted: Arc<Granted>,
}

impl PolicyErrors {
    async fn explained<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        work.await.map_err(|error| self.granted.explain(error))
    }
}

#[async_trait]
impl PluginInterface for PolicyErrors {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn version(&self) -> &str {
        self.plugin.version()
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        self.explained(self.plugin.initialize(config)).await
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        self.explained(self.plugin.execute(call)).await
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        let stream = self.explained(self.plugin.execute_stream(call)).await?;
        let granted = Arc::clone(&self.granted);
        Ok(stream.map_errors(move |error| granted.explain(error)))
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.explained(self.plugin.methods()).await
    }

    async fn config_schema(&self) -> Result<Value> {
        self.explained(self.plugin.config_schema()).await
    }

    async fn current_config(&self) -> Result<Value> {
        self.explained(self.plugin.current_config()).await
    }

    async fn stats(&self) -> Result<Stats> {
        self.plugin.stats().await
    }

    fn position(&self, call: CallId) -> Option<usize> {
        self.plugin.position(call)
    }

    async fn is_alive(&self) -> bool {
        self.plugin.is_alive().await
    }

    async fn cleanup(&self) -> Result<()> {
        self.plugin.cleanup().await
    }
}
