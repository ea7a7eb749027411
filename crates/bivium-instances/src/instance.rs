//! [`Instance`] and [`InstanceFactory`]: what a runtime implements.

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::{Call, InstanceStats, MethodInfo, Payload, PayloadStream, PluginError, Result};
use serde_json::Value;

use crate::capacity::Capacity;
use crate::devices::{DeviceAccess, Placement};
use crate::limits::PoolLimits;

/// One live copy of a plugin: a component's store or a worker process.
///
/// The pool makes sure that at most [`PoolLimits::calls_per_instance`] calls run at once, and that `initialize` never runs beside
/// a call. Dropping an instance must free what it holds and must not block.
///
/// Implementations write `async fn`; no future of a call is boxed.
pub trait Instance: Send + Sync + 'static {
    /// Applies a configuration, the first one or a changed one. On an error the previous one must stay in force.
    fn initialize(&self, config: &Value) -> impl Future<Output = Result<()>> + Send;

    /// Runs one call; it may take what it needs out of `call`. It must end soon after
    /// [`interrupted`](bivium_interface::CallHandle::interrupted), with that error. Dropping the future stops the call; the instance
    /// is then used again only if it is still alive.
    fn execute(&self, call: &mut Call) -> impl Future<Output = Result<Payload>> + Send;

    /// Starts a streaming call. The rules of `execute` hold for the stream; dropping it stops the call.
    fn execute_stream(self: Arc<Self>, call: Call) -> impl Future<Output = Result<PayloadStream>> + Send;

    /// The methods besides `execute`.
    fn methods(&self) -> impl Future<Output = Result<Vec<MethodInfo>>> + Send;

    /// JSON Schema of the configuration.
    fn config_schema(&self) -> impl Future<Output = Result<Value>> + Send;

    /// The configuration in force, as the plugin reports it.
    fn current_config(&self) -> impl Future<Output = Result<Value>> + Send;

    /// Whether it can take another call. An instance that cannot is closed and replaced.
    fn is_alive(&self) -> bool;

    /// Whether it can take the call that it has just been given. Called without a lock, to check what may have changed outside the
    /// instance. If not, the call goes to another instance; the instance counts as dead, and its running calls go on.
    fn is_fit(&self) -> bool {
        true
    }

    /// Whether it can release the memory that it holds on GPUs without ending.
    fn can_release(&self) -> bool {
        false
    }

    /// Releases the memory that it holds on GPUs. It gets no call meanwhile, and takes the memory again at its next call.
    fn release(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Err(PluginError::internal("the instance cannot release memory")))
    }

    /// Why an instance that is not alive has ended, if that is a reason to delay new ones: see [`RestartPolicy`](crate::RestartPolicy). `None` if the host
    /// ended it, or if replacing it costs next to nothing.
    fn crash(&self) -> Option<PluginError> {
        None
    }

    /// Runs the plugin's `cleanup` and frees everything, in limited time.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// Its present use of resources. Called on a blocking thread.
    fn stats(&self) -> InstanceStats;
}

/// Makes the instances of one plugin.
#[async_trait]
pub trait InstanceFactory: Send + Sync + 'static {
    /// The type of instance that it makes.
    type Instance: Instance;

    /// The plugin's name.
    fn name(&self) -> &str;

    /// The plugin's version.
    fn version(&self) -> &str;

    /// How many instances there may be, and how each is used.
    fn limits(&self) -> PoolLimits;

    /// The capacity that its instances share with those of other plugins; each reserves its part before it is made. `None` if they
    /// share nothing.
    fn capacity(&self) -> Option<&Arc<Capacity>> {
        None
    }

    /// Whether failing to make an instance with this error counts as a crash: see [`RestartPolicy`](crate::RestartPolicy).
    fn is_crash(&self, _error: &PluginError) -> bool {
        true
    }

    /// Where its instances are placed, if they need GPUs.
    fn devices(&self) -> Option<&DeviceAccess> {
        None
    }

    /// Makes one instance, without a configuration; waits for capacity first. Dropping the future leaves nothing behind. The instance
    /// keeps `placement` until it has ended; it is empty without [`devices`](Self::devices).
    async fn create(&self, placement: Placement) -> Result<Self::Instance>;
}
