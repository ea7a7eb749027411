//! [`Layer`]: wraps a plugin to do something around each of its calls, for example a cache, a retry or a trace.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::{Call, CallId, MethodInfo, Payload, PayloadStream, PluginInterface, Result, Stats};

/// Wraps a plugin in another one that does something around its calls, as a `tower::Layer` does around a service.
///
/// A function from a plugin to a plugin is a layer. The plugin that it returns is most easily written as a [`Wrapper`].
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use bivium_interface::{Call, Layer, Payload, PluginInterface, Result, Wrapper, async_trait};
///
/// /// Counts the calls that succeed.
/// struct Counted {
///     inner: Arc<dyn PluginInterface>,
///     count: Arc<AtomicU64>,
/// }
///
/// #[async_trait]
/// impl Wrapper for Counted {
///     fn inner(&self) -> &Arc<dyn PluginInterface> {
///         &self.inner
///     }
///
///     async fn execute(&self, call: Call) -> Result<Payload> {
///         let result = self.inner.execute(call).await;
///         self.count.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
///         result
///     }
/// }
///
/// fn counted(count: &Arc<AtomicU64>) -> impl Layer + use<> {
///     let count = Arc::clone(count);
///     move |inner| Arc::new(Counted { inner, count: Arc::clone(&count) }) as Arc<dyn PluginInterface>
/// }
/// # fn is_a_layer(_: impl Layer) {}
/// # is_a_layer(counted(&Arc::default()));
/// ```
pub trait Layer: Send + Sync + 'static {
    /// The plugin with this layer around it. Called once for each plugin that is loaded, and for each copy that a reload makes.
    /// Must not block.
    fn layer(&self, plugin: Arc<dyn PluginInterface>) -> Arc<dyn PluginInterface>;
}

impl<F> Layer for F
where
    F: Fn(Arc<dyn PluginInterface>) -> Arc<dyn PluginInterface> + Send + Sync + 'static,
{
    fn layer(&self, plugin: Arc<dyn PluginInterface>) -> Arc<dyn PluginInterface> {
        self(plugin)
    }
}

/// A plugin that wraps another one. Methods that it does not define call the inner plugin.
///
/// A call that is passed on keeps its handle, and so its deadline, its cancellation and its progress. A clone of a call is another
/// call: use one to run a call again. If a wrapper waits for something other than the inner plugin, it must end the call soon
/// after it is interrupted ([`CallHandle::interrupted`](crate::CallHandle::interrupted)).
#[async_trait]
pub trait Wrapper: Send + Sync + 'static {
    /// The plugin inside.
    fn inner(&self) -> &Arc<dyn PluginInterface>;

    /// As [`PluginInterface::execute`].
    async fn execute(&self, call: Call) -> Result<Payload> {
        self.inner().execute(call).await
    }

    /// As [`PluginInterface::execute_stream`].
    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        self.inner().execute_stream(call).await
    }

    /// As [`PluginInterface::initialize`].
    async fn initialize(&self, config: Value) -> Result<()> {
        self.inner().initialize(config).await
    }

    /// As [`PluginInterface::stats`].
    async fn stats(&self) -> Result<Stats> {
        self.inner().stats().await
    }

    /// As [`PluginInterface::cleanup`].
    async fn cleanup(&self) -> Result<()> {
        self.inner().cleanup().await
    }
}

#[async_trait]
impl<W: Wrapper> PluginInterface for W {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn version(&self) -> &str {
        self.inner().version()
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        Wrapper::initialize(self, config).await
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        Wrapper::execute(self, call).await
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        Wrapper::execute_stream(self, call).await
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.inner().methods().await
    }

    async fn config_schema(&self) -> Result<Value> {
        self.inner().config_schema().await
    }

    async fn current_config(&self) -> Result<Value> {
        self.inner().current_config().await
    }

    async fn stats(&self) -> Result<Stats> {
        Wrapper::stats(self).await
    }

    fn position(&self, call: CallId) -> Option<usize> {
        self.inner().position(call)
    }

    async fn is_alive(&self) -> bool {
        self.inner().is_alive().await
    }

    async fn cleanup(&self) -> Result<()> {
        Wrapper::cleanup(self).await
    }
}
