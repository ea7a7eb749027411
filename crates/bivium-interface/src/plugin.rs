//! [`PluginInterface`]: the trait of every plugin, in whichever runtime it runs.

use async_trait::async_trait;
use futures_util::stream;
use serde_json::{Value, json};

use crate::{Call, CallId, MethodInfo, Payload, PayloadStream, PluginError, Result, Stats};

/// A plugin that can be called: a pool of component instances, a set of workers, or a type of the host's own.
///
/// All methods may be called at any time and from several tasks at once. An implementation queues calls that it cannot run at the
/// same time. No method may block the thread. Every error names the plugin.
#[async_trait]
pub trait PluginInterface: Send + Sync + 'static {
    /// The name, as in the manifest.
    fn name(&self) -> &str;

    /// The version, as in the manifest.
    fn version(&self) -> &str;

    /// Applies a configuration: once before the first call, and again for each later change. Either all instances get it or none: after
    /// an error the previous configuration stays in use. Waits for running calls to end. Calls made meanwhile wait, and run with the
    /// new configuration.
    async fn initialize(&self, config: Value) -> Result<()>;

    /// Runs one call and returns its result. Ends soon after the call is cancelled (`cancelled`) or its deadline passes (`timeout`).
    /// Dropping the future cancels the call.
    async fn execute(&self, call: Call) -> Result<Payload>;

    /// Starts a call with many results. By default there is one, the result of [`execute`](Self::execute).
    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        let payload = self.execute(call).await?;
        Ok(PayloadStream::new(stream::iter([Ok(payload)])))
    }

    /// The methods, as far as they are known.
    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        Ok(Vec::new())
    }

    /// JSON Schema (draft 2020-12) of the configuration. By default it accepts anything.
    async fn config_schema(&self) -> Result<Value> {
        Ok(json!({}))
    }

    /// The current configuration, as the plugin reports it.
    async fn current_config(&self) -> Result<Value> {
        Ok(json!({}))
    }

    /// Counters and use of resources. Cheap enough to call every second.
    async fn stats(&self) -> Result<Stats> {
        Ok(Stats::default())
    }

    /// The position of a waiting call in the plugin's queue, where 1 is next. `None` for a call that does not wait.
    fn position(&self, _call: CallId) -> Option<usize> {
        None
    }

    /// Whether the plugin could run a call now.
    async fn is_alive(&self) -> bool {
        true
    }

    /// Ends the plugin: running calls get a short time and are then cancelled, and instances are freed. Later calls fail with
    /// `unavailable`. Calling it again does nothing.
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
