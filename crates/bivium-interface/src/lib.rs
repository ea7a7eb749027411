//! What a Bivium plugin is, for those who call one and those who make one.
//!
//! [`PluginInterface`] is the one trait behind which both roads hide: WebAssembly components in a sandbox and
//! Python workers in processes of their own. The other types are what crosses it: a [`Call`] goes in, a
//! [`Payload`] (a JSON document plus the [`Blob`]s that it names) or a stream of payloads comes out, a
//! [`PluginError`] says what went wrong, and a [`Manifest`] declares the plugin.
//!
//! Nothing here knows an engine, a process or HTTP, so a host's own Rust type can implement the trait without
//! depending on any of them:
//!
//! ```
//! use bivium_interface::{Call, Payload, PluginError, PluginInterface, Stats, async_trait};
//! use serde_json::{Value, json};
//!
//! struct Shout;
//!
//! #[async_trait]
//! impl PluginInterface for Shout {
//!     fn name(&self) -> &str { "shout" }
//!     fn version(&self) -> &str { "1.0.0" }
//!     async fn initialize(&self, _config: Value) -> Result<(), PluginError> { Ok(()) }
//!     async fn execute(&self, call: Call) -> Result<Payload, PluginError> {
//!         let text: String = call.argument("text")?;
//!         Ok(json!({ "text": text.to_uppercase() }).into())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let result = Shout.execute(Call::new().named("text", "hello")).await?;
//! assert_eq!(result.json, json!({ "text": "HELLO" }));
//! # Ok::<(), PluginError>(()) }).unwrap();
//! ```

mod admission;
mod blob;
mod call;
mod clip;
mod error;
pub mod exact;
mod layer;
mod log;
pub mod lossy;
pub mod manifest;
mod method;
mod nearest;
mod payload;
mod plugin;
pub mod policy;
mod progress;
mod stats;
mod stream;
mod text_file;
mod typed;

pub use async_trait::async_trait;
pub use tokio_util::sync::CancellationToken;

pub use admission::{Admission, Admit};
pub use blob::{Blob, FileBackedDto, media_type_of_path, suffix_of_media_type};
pub use call::{Call, CallHandle, CallId};
pub use clip::{clip, head, whole};
pub use error::{ErrorCode, FailedStep, Failure, PluginError, Problem, token};
pub use layer::{Layer, Wrapper};
pub use log::{LogLevel, LogRecord, LogSource};
pub use manifest::Manifest;
pub use method::MethodInfo;
pub use nearest::nearest;
pub use payload::{Payload, escape, escape_key, unescape, unescape_key};
pub use plugin::PluginInterface;
pub use policy::{Granted, HostPolicy, NetworkRule};
pub use progress::Progress;
pub use stats::{CircuitState, InstanceStats, LastCrash, Stats};
pub use stream::{PayloadStream, TypedStream};
pub use text_file::{read_text, read_text_from};
pub use typed::typed;

/// What every fallible operation on a plugin gives.
pub type Result<T, E = PluginError> = std::result::Result<T, E>;
