//! [`PluginInterface`], the trait behind which both roads hide.

use async_trait::async_trait;
use futures_util::stream;
use serde_json::{Value, json};

use crate::{Call, CallId, MethodInfo, Payload, PayloadStream, PluginError, Result, Stats};

/// A plugin that calls can be made to: a pool of component instances, a set of workers, or a type of the host's own.
///
/// All methods may be called at any time and from several tasks at once; an implementation queues what it cannot
/// run side by side. None may block the thread. Every error names the plugin.
#[async_trait]
pub trait PluginInterface: Send + Sync + 'static {
    /// The name, as in the manifest.
    fn name(&self) -> &str;

    /// The version, as in the manifest.
    fn version(&self) -> &str;

    /// Applies a configuration: once before the first call, and again for a hot change. It reaches all instances
    /// or none: on an error the configuration before stays in force. Waits for running calls to end; calls made
    /// meanwhile wait and see the new configuration.
    async fn initialize(&self, config: Value) -> Result<()>;

    /// Runs one call and gives its result. Ends soon after the call is cancelled (`cancelled`) or its deadline
    /// passes (`timeout`); dropping the future cancels the call.
    async fn execute(&self, call: Call) -> Result<Payload>;

    /// Starts a call with many results. The default gives the one result of [`execute`](Self::execute).
    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        let payload = self.execute(call).await?;
        Ok(PayloadStream::new(stream::iter([Ok(payload)])))
    }

    /// The methods, as far as they are known.
    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        Ok(Vec::new())
    }

    /// JSON Schema (draft 2020-12) of the configuration. The default accepts anything.
    async fn config_schema(&self) -> Result<Value> {
        Ok(json!({}))
    }

    /// The configuration in force, as the plugin reports it.
    async fn current_config(&self) -> Result<Value> {
        Ok(json!({}))
    }

    /// Counters and use of resources. Cheap enough to ask every second.
    async fn stats(&self) -> Result<Stats> {
        Ok(Stats::default())
    }

    /// Where a call stands that waits for the plugin: 1 is the next. None for one that does not wait.
    fn position(&self, _call: CallId) -> Option<usize> {
        None
    }

    /// Whether a call made now could run.
    async fn is_alive(&self) -> bool {
        true
    }

    /// Ends the plugin: running calls are given a short time, then cancelled; instances are freed. Later calls
    /// give `unavailable`. Calling it again does nothing.
    async fn cleanup(&self) -> Result<()> {
        Ok(())
    }
}

impl dyn PluginInterface {
    /// The error of a call to a method that the plugin does not have.
    #[must_use]
    pub fn no_such_method(&self, method: &str) -> PluginError {
        PluginError::not_found(format!("there is no method {method:?}")).with_plugin(self.name())
    }
}
