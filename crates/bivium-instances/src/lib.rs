//! What both runtimes share: [`PooledPlugin`] puts a pool of instances behind `PluginInterface`.
//!
//! A runtime says how one [`Instance`] is made and driven ([`InstanceFactory`]). This crate decides when: it queues calls in
//! order under their deadline and cancellation, keeps instances for the next call, replaces those that died (after crashes
//! with a delay), stops idle ones, applies a configuration to all of them or to none, keeps the statistics, and limits how much
//! JSON may cross between plugin and host ([`document`]). It does not depend on WebAssembly or Python. Logs, the audit log and
//! secrets are in `bivium-records`.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bivium_instances::{Instance, InstanceFactory, PoolLimits, PooledPlugin};
//! use bivium_interface::{
//!     Call, InstanceStats, MethodInfo, Payload, PayloadStream, PluginInterface, Result, async_trait,
//! };
//! use serde_json::{Value, json};
//!
//! /// The smallest runtime possible: an instance is a number.
//! struct Number(u32);
//!
//! impl Instance for Number {
//!     async fn initialize(&self, _config: &Value) -> Result<()> { Ok(()) }
//!     async fn execute(&self, _call: &mut Call) -> Result<Payload> { Ok(json!(self.0).into()) }
//!     async fn execute_stream(self: Arc<Self>, _call: Call) -> Result<PayloadStream> {
//!         Ok(PayloadStream::new(futures_util::stream::empty()))
//!     }
//!     async fn methods(&self) -> Result<Vec<MethodInfo>> { Ok(Vec::new()) }
//!     async fn config_schema(&self) -> Result<Value> { Ok(json!({})) }
//!     async fn current_config(&self) -> Result<Value> { Ok(json!({})) }
//!     fn is_alive(&self) -> bool { true }
//!     async fn close(&self) {}
//!     fn stats(&self) -> InstanceStats { InstanceStats::default() }
//! }
//!
//! struct Numbers;
//!
//! #[async_trait]
//! impl InstanceFactory for Numbers {
//!     type Instance = Number;
//!     fn name(&self) -> &str { "numbers" }
//!     fn version(&self) -> &str { "1.0.0" }
//!     fn limits(&self) -> PoolLimits { PoolLimits { instances: 2, ..PoolLimits::default() } }
//!     async fn create(&self) -> Result<Number> { Ok(Number(7)) }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let plugin = PooledPlugin::new(Numbers);
//! plugin.initialize(json!({})).await?;
//! assert_eq!(plugin.execute(Call::new()).await?.json, 7);
//! plugin.cleanup().await
//! # }).unwrap();
//! ```

mod capacity;
mod context;
pub mod document;
mod drain;
mod idle;
mod lease;
mod overtime;
mod plugin;
mod pool;
mod protected;
mod queue;
mod recent;
mod restart;
mod slots;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_interface::manifest::Limits;
use bivium_interface::{Call, HostPolicy, InstanceStats, MethodInfo, Payload, PayloadStream, PluginError, Result};
use serde_json::Value;

pub use capacity::{Capacity, Reservation};
pub use context::PluginContext;
pub use drain::{DRAIN_TIME, drain};
pub use idle::Idle;
pub use overtime::overtime;
pub use plugin::PooledPlugin;
pub use protected::Protected;
pub use restart::RestartPolicy;

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

    /// Why an instance that is not alive has ended, if that is a reason to delay new ones: see [`RestartPolicy`]. `None` if the host
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

    /// Whether failing to make an instance with this error counts as a crash: see [`RestartPolicy`].
    fn is_crash(&self, _error: &PluginError) -> bool {
        true
    }

    /// Makes one instance, without a configuration; waits for capacity first. Dropping the future leaves nothing behind.
    async fn create(&self) -> Result<Self::Instance>;
}

/// How many instances there may be, and how each is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// At most this many at once.
    pub instances: u32,
    /// Calls that one instance runs at once.
    pub calls_per_instance: u32,
    /// Whether an instance ends after its first call.
    pub single_use: bool,
    /// Whether a call prefers the instance that its thread used last. Useful if calls run on the caller's thread, whose caches
    /// then hold the instance's data.
    pub thread_affinity: bool,
    /// Calls that may wait for a place.
    pub queue: u32,
    /// When idle instances are stopped; `None` for never.
    pub idle: Option<Idle>,
    /// How crashed instances are replaced.
    pub restart: RestartPolicy,
}

impl PoolLimits {
    /// How many calls may wait for a plugin with these limits.
    #[must_use]
    pub fn queue(limits: &Limits) -> u32 {
        let limit = limits.queue.or(HostPolicy::DEFAULTS.queue);
        limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX)
    }
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            instances: 1,
            calls_per_instance: 1,
            single_use: false,
            thread_affinity: false,
            queue: Self::queue(&Limits::default()),
            idle: None,
            restart: RestartPolicy::default(),
        }
    }
}
