//! The audit log: what plugins were granted and what they were denied, as it happens.
//!
//! A record a use, by the measure of the thing: network by request or connection, files by directory, environment variables
//! and secrets by name. Every denial is told, within [`Auditor::RECORDS`] a second; what an instance is given for its life is
//! told when it is made.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bivium_interface::{CallId, LogLevel, LogSource, PluginError, Result};
use serde::Serialize;

use crate::PluginLog;
use crate::rate::Rate;

/// What became of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It was allowed.
    Granted,
    /// It was refused.
    Denied,
}

/// One use of a permission, or of one that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// Milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// The plugin.
    pub plugin: String,
    /// Which of its instances: a number of a component's instance or the process id of a worker; 0 for none.
    pub instance: u64,
    /// The call, where the use belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The manifest's key, for example `permissions.network`.
    pub permission: &'static str,
    /// What was used, for example `https://api.example.com`.
    pub resource: String,
    /// What became of it.
    pub decision: Decision,
    /// Why it was denied; empty for a grant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Where audit records go. Called from the plugin's own threads: it must not block for long.
pub trait AuditSink: Send + Sync {
    /// Takes a record.
    fn record(&self, record: &AuditRecord);
}

/// Appends audit records to a file, one line of JSON each.
pub struct AuditFile(Mutex<File>);

impl AuditFile {
    /// Opens the file, or makes it for this user only (0600). Blocks on the file system.
    ///
    /// # Errors
    /// `denied` or `internal` if it cannot be opened, naming it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|error| {
            let message = format!("cannot open the audit log {}: {error}", path.display());
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => PluginError::denied(message),
                _ => PluginError::internal(message),
            }
        })?;
        Ok(Self(Mutex::new(file)))
    }
}

impl AuditSink for AuditFile {
    fn record(&self, record: &AuditRecord) {
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        // One write a line: other hosts may append to the same file.
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        if let Err(error) = written {
            tracing::error!(%error, plugin = record.plugin, "the audit log cannot be written");
        }
    }
}

/// One plugin's way to the audit log. Cheap to clone.
#[derive(Clone)]
pub struct Auditor(Arc<Inner>);

struct Inner {
    plugin: String,
    sink: Option<Arc<dyn AuditSink>>,
    log: PluginLog,
    rate: Rate,
}

impl Auditor {
    /// Records that one plugin may cause in a second; the rest are counted, and the count is told.
    pub const RECORDS: u32 = 1000;

    /// For this plugin. Without a sink denials still go to the plugin's log.
    #[must_use]
    pub fn new(plugin: impl Into<String>, sink: Option<Arc<dyn AuditSink>>, log: PluginLog) -> Self {
        Self(Arc::new(Inner { plugin: plugin.into(), sink, log, rate: Rate::new(Self::RECORDS) }))
    }

    /// A use that was allowed.
    pub fn granted(&self, instance: u64, call: Option<CallId>, permission: &'static str, resource: impl Into<String>) {
        if self.0.sink.is_some() {
            self.tell(self.record(instance, call, permission, resource.into()));
        }
    }

    /// A use that was refused. The plugin's log tells it too.
    pub fn denied(
        &self,
        instance: u64,
        call: Option<CallId>,
        permission: &'static str,
        resource: impl Into<String>,
        reason: impl Into<String>,
    ) {
        let record = self.record(instance, call, permission, resource.into());
        self.tell(AuditRecord { decision: Decision::Denied, reason: reason.into(), ..record });
    }

    /// A use that is allowed, now.
    fn record(&self, instance: u64, call: Option<CallId>, permission: &'static str, resource: String) -> AuditRecord {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        AuditRecord {
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            plugin: self.0.plugin.clone(),
            instance,
            call,
            permission,
            resource,
            decision: Decision::Granted,
            reason: String::new(),
        }
    }

    fn tell(&self, record: AuditRecord) {
        let Some(dropped) = self.0.rate.admit() else { return };
        if dropped > 0 {
            let reason = format!("{dropped} records were left out: more than {} in a second", Self::RECORDS);
            let left_out = self.record(record.instance, None, "audit", String::new());
            self.write(&AuditRecord { decision: Decision::Denied, reason, ..left_out });
        }
        self.write(&record);
    }

    fn write(&self, record: &AuditRecord) {
        if record.decision == Decision::Denied {
            let message = format!("denied: {} {}: {}", record.permission, record.resource, record.reason);
            self.0.log.push(LogLevel::Warn, LogSource::Host, record.instance, record.call, &message);
        }
        if let Some(sink) = &self.0.sink {
            sink.record(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lines_of_json_and_a_flood_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let log = PluginLog::new("p");
        let auditor = Auditor::new("p", Some(Arc::new(AuditFile::open(&path).unwrap())), log.clone());
        auditor.granted(1, None, "permissions.env", "LANG");
        for _ in 0..Auditor::RECORDS * 2 {
            auditor.denied(1, Some(CallId::next()), "permissions.network", "https://x", "it is not in the manifest");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!((Auditor::RECORDS as usize..Auditor::RECORDS as usize * 2).contains(&lines.len()));
        assert_eq!(lines[0]["decision"], "granted");
        assert_eq!(lines[1]["reason"], "it is not in the manifest");
        assert!(log.tail(1)[0].message.starts_with("denied: permissions.network https://x"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    use std::os::unix::fs::PermissionsExt as _;
}
