//! What a host stores about its plugins: their logs, the audit log and secrets.
//!
//! - A [`PluginLog`] has the last records of one plugin in memory. It passes each record to `tracing`, to followers and, if the host
//!   has [`LogFiles`], to a file, which [`KeptLog`] reads. An [`InstanceLog`] limits how much one instance can log, a
//!   [`FailureLog`] how many errors of calls.
//! - An [`Auditor`] writes what one plugin was granted and denied to an [`AuditSink`], for example an [`AuditFile`]. Denials are in the
//!   plugin's log too.
//! - [`Secrets`] has the host's secrets by name. A plugin gets only those that it is granted.
//!
//! This crate knows neither instances nor runtimes; they use it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bivium_interface::{LogLevel, LogSource};
//! use bivium_records::{AuditFile, Auditor, PluginLog, Secrets};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("audit.jsonl");
//! let log = PluginLog::new("translate");
//! log.push(LogLevel::Info, LogSource::Log, 1, None, "the model is loaded");
//!
//! let audit = Auditor::new("translate", Some(Arc::new(AuditFile::open(&path)?)), log.clone());
//! let secrets = Secrets::default().with("KEY", "s3cret");
//! audit.granted(1, None, "permissions.secrets", "KEY")?;
//! assert_eq!(secrets.granted("KEY")?, "s3cret");
//! audit.denied(1, None, "permissions.network", "https://example.com", "the manifest does not name it")?;
//!
//! let written = std::fs::read_to_string(&path).unwrap();
//! assert!(written.contains("KEY") && !written.contains("s3cret"));
//! let last = &log.tail(1)[0];
//! assert_eq!(last.message, "denied: permissions.network https://example.com: the manifest does not name it");
//! # Ok::<(), bivium_interface::PluginError>(())
//! ```

mod audit;
mod log;
mod rate;
mod secrets;
#[cfg(test)]
#[path = "../../../tests/support/skipped.rs"]
mod skipped;
#[cfg(test)]
#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;

pub use audit::{AuditFile, AuditRecord, AuditSink, Auditor, Decision};
pub use log::{FailureLog, InstanceLog, KeptLog, Line, LogFiles, LogFilter, PluginLog};
pub use secrets::Secrets;
