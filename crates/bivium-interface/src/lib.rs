//! The types that a Bivium plugin, its caller and its host share.
//!
//! Every plugin is a [`PluginInterface`], in whichever runtime it runs: a WebAssembly component in a sandbox or a Python worker in
//! its own process. A [`Call`] goes in. A [`Payload`] (a JSON document and the [`Blob`]s that it names) or a stream of payloads
//! comes out. A [`PluginError`] says what went wrong, and a [`Manifest`] declares the plugin.
//!
//! This crate contains no engine, no processes and no HTTP, so a host's own Rust type can implement the trait without depending on
//! any of them:
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

mod blob;
mod call;
mod call_id;
mod clip;
mod error;
pub mod exact;
mod layer;
mod log;
pub mod lossy;
pub mod manifest;
mod method;
mod nearest;
mod network;
mod payload;
mod plugin;
pub mod policy;
mod progress;
mod stats;
mod stream;
mod text_file;
mod typed;
mod variables;

pub use async_trait::async_trait;
pub use tokio_util::sync::CancellationToken;

pub use blob::{Blob, FileBackedDto, media_type_of_path, suffix_of_media_type};
pub use call::{Admission, Admit, Call, CallHandle};
pub use call_id::CallId;
pub use clip::{clip, head, whole};
pub use error::{ErrorCode, FailedStep, Failure, PluginError, Problem, Result, reference_token};
pub use layer::{Layer, Wrapper};
pub use log::{LogLevel, LogRecord, LogSource};
pub use manifest::Manifest;
pub use method::MethodInfo;
pub use nearest::{nearest, nearest_file};
pub use network::NetworkRule;
pub use payload::{Payload, escape, escape_key, unescape, unescape_key};
pub use plugin::PluginInterface;
pub use policy::{Granted, HostPolicy};
pub use progress::Progress;
pub use stats::{CircuitState, InstanceStats, LastCrash, Stats};
pub use stream::{PayloadStream, TypedStream};
pub use text_file::{read_text, read_text_from};
pub use typed::typed;
