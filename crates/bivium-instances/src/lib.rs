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
//! use bivium_instances::{Instance, InstanceFactory, Placement, PoolLimits, PooledPlugin};
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
//!     async fn create(&self, _placement: Placement) -> Result<Number> { Ok(Number(7)) }
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
mod devices;
pub mod document;
mod drain;
mod instance;
mod limits;
mod overtime;
mod plugin;
mod pool;
mod protected;
mod queue;
mod recent;
mod restart;
mod slots;

pub use capacity::{Capacity, Reservation};
pub use context::PluginContext;
pub use devices::{
    DeviceAccess, DeviceNeed, DeviceRequest, Devices, InstanceUse, Placed, PlacedGpu, PlacedInstances, Placement,
};
pub use drain::{DRAIN_TIME, drain};
pub use instance::{Instance, InstanceFactory};
pub use limits::{Idle, PoolLimits};
pub use overtime::overtime;
pub use plugin::PooledPlugin;
pub use protected::Protected;
pub use restart::RestartPolicy;
