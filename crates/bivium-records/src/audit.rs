//! The audit log: what plugins were granted and what they were denied, at the time when it happens.
//!
//! There is one record for each use: for the network, each request or connection; for files, each directory; for environment
//! variables and secrets, each name. What an instance gets for its whole life is recorded before it gets it. Uses of secrets, other
//! grants, and denials have separate budgets of [`Auditor::RECORDS`] per second, so that many records of one kind do not hide
//! those of another. Records that are left out are counted, and the count is recorded about a second later, even if nothing else
//! happens. If records cannot be written, the host's log says so. With `enforce`, nothing is allowed without its record, whether the
//! record cannot be written or there are too many.

mod file;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bivium_interface::{CallId, LogLevel, LogSource, PluginError, Result};
use serde::Serialize;

use crate::PluginLog;
use crate::rate::Rate;

pub use file::AuditFile;

/// The decision about a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It was allowed.
    Granted,
    /// It was refused.
    Denied,
    /// Not known: records are missing here.
    LeftOut,
}

/// One use of a permission, or one attempt without permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// The plugin.
    pub plugin: String,
    /// The instance: the number of a component's instance or the process id of a worker's guard; 0 for none.
    pub instance: u64,
    /// The call, if the use belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The manifest's key, for example `permissions.network`.
    pub permission: &'static str,
    /// What was used, for example `https://api.example.com`.
    pub resource: String,
    /// The decision.
    pub decision: Decision,
    /// Why it was denied, or why records are missing; empty for a grant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many records are missing; 0 in the record of a use.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

impl AuditRecord {
    /// A use that is allowed now, without an instance and a call.
    #[must_use]
    pub fn new(plugin: impl Into<String>, permission: &'static str, resource: impl Into<String>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            plugin: plugin.into(),
            instance: 0,
            call: None,
            permission,
            resource: resource.into(),
            decision: Decision::Granted,
            reason: String::new(),
            left_out: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Receives audit records. It is called on the plugin's threads, so it must not block for long.
pub trait AuditSink: Send + Sync {
    /// Writes a record.
    ///
    /// # Errors
    /// If the record is not written. The host then logs that, and with `enforce` the use is not allowed.
    fn record(&self, record: &AuditRecord) -> Result<()>;
}

/// Writes one plugin's records to the audit log. Cheap to clone.
#[derive(Clone)]
pub struct Auditor(Arc<Inner>);

struct Inner {
    plugin: String,
    sink: Option<Arc<dyn AuditSink>>,
    log: PluginLog,
    enforce: bool,
    secrets: Rate,
    grants: Rate,
    denials: Rate,
    /// Whether a record of what was left out is scheduled.
    settles: AtomicBool,
    /// The number of records that the sink did not write.
    unwritten: AtomicU64,
    /// Whether that was logged.
    is_troubled: AtomicBool,
}

/// The kind of a record. Each kind has its own budget.
#[derive(Clone, Copy)]
enum Kind {
    Secret,
    Grant,
    Denial,
}

/// How the plugin's log is told of a denial.
#[derive(Clone, Copy)]
enum InLog {
    /// As a warning, when it happens.
    Warned,
    /// As what is the same at each load.
    Noted,
    /// By whoever had it recorded.
    Elsewhere,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Secret, Self::Grant, Self::Denial];

    /// That of a use which is allowed by this key of the manifest.
    fn of(permission: &str) -> Self {
        if permission == "permissions.secrets" { Self::Secret } else { Self::Grant }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secret => "uses of secrets",
            Self::Grant => "grants",
            Self::Denial => "denials",
        }
    }
}

impl Auditor {
    /// How many records of each kind one plugin may cause per second. The rest are counted, and the count is recorded.
    pub const RECORDS: u32 = 1000;

    /// An auditor for this plugin. Without a sink, denials still go to the plugin's log.
    #[must_use]
    pub fn new(plugin: impl Into<String>, sink: Option<Arc<dyn AuditSink>>, log: PluginLog) -> Self {
        Self::with(plugin.into(), sink, log, false)
    }

    /// As [`new`](Self::new), but nothing is allowed that is not recorded: the manifest or the policy has `enforce`.
    #[must_use]
    pub fn enforced(self) -> Self {
        Self::with(self.0.plugin.clone(), self.0.sink.clone(), self.0.log.clone(), true)
    }

    fn with(plugin: String, sink: Option<Arc<dyn AuditSink>>, log: PluginLog, enforce: bool) -> Self {
        let rate = || Rate::new(Self::RECORDS);
        Self(Arc::new(Inner {
            plugin,
            sink,
            log,
            enforce,
            secrets: rate(),
            grants: rate(),
            denials: rate(),
            settles: AtomicBool::new(false),
            unwritten: AtomicU64::new(0),
            is_troubled: AtomicBool::new(false),
        }))
    }

    /// Records a use that is allowed. Call it before the use.
    ///
    /// # Errors
    /// Only with `enforce`: the sink's error, or `resource-exhausted` if there are more than [`RECORDS`](Self::RECORDS) per second. Then
    /// the use must not happen, and its call fails.
    pub fn granted(
        &self,
        instance: u64,
        call: Option<CallId>,
        permission: &'static str,
        resource: impl Into<String>,
    ) -> Result<()> {
        self.allowed(Kind::of(permission), instance, call, permission, resource)
    }

    /// Records a use of a secret that a plugin gets by another key than `permissions.secrets`.
    ///
    /// # Errors
    /// Those of [`granted`](Self::granted).
    pub fn secret_granted(
        &self,
        instance: u64,
        call: Option<CallId>,
        permission: &'static str,
        resource: impl Into<String>,
    ) -> Result<()> {
        self.allowed(Kind::Secret, instance, call, permission, resource)
    }

    fn allowed(
        &self,
        kind: Kind,
        instance: u64,
        call: Option<CallId>,
        permission: &'static str,
        resource: impl Into<String>,
    ) -> Result<()> {
        match self.0.sink {
            Some(_) => self.submit(kind, &self.0.record(instance, call, permission, resource.into()), InLog::Warned),
            None => Ok(()),
        }
    }

    /// Records a use that is refused, also in the plugin's log.
    ///
    /// # Errors
    /// Only with `enforce`: the sink's error. If there are too many denials, they are counted.
    pub fn denied(
        &self,
        instance: u64,
        call: Option<CallId>,
        permission: &'static str,
        resource: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<()> {
        self.refused(self.0.record(instance, call, permission, resource.into()), reason.into(), InLog::Warned)
    }

    /// Records a permission or limit of the manifest that the policy does not grant. This happens at each load, so the plugin's log has
    /// it without a warning.
    ///
    /// # Errors
    /// As [`denied`](Self::denied).
    pub fn withheld(
        &self,
        permission: &'static str,
        resource: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<()> {
        self.refused(self.0.record(0, None, permission, resource.into()), reason.into(), InLog::Noted)
    }

    /// Records that a policy or a check of the manifest refuses to load the plugin. `manifest` is the manifest's file. This does not write
    /// into the plugin's log: whoever loads the plugin writes the error there.
    pub fn load_refused(&self, manifest: impl Into<String>, error: &PluginError) {
        // Nothing happens that would have to be recorded first.
        let _ = self.refused(self.0.record(0, None, "load", manifest.into()), error.sentence(), InLog::Elsewhere);
    }

    fn refused(&self, record: AuditRecord, reason: String, in_log: InLog) -> Result<()> {
        self.submit(Kind::Denial, &AuditRecord { decision: Decision::Denied, reason, ..record }, in_log)
    }

    fn submit(&self, kind: Kind, record: &AuditRecord, in_log: InLog) -> Result<()> {
        let Some(dropped) = self.0.rate(kind).admit() else {
            self.settle_soon();
            let must_be_recorded = self.0.enforce && record.decision == Decision::Granted;
            return if must_be_recorded { Err(self.0.over_budget(kind)) } else { Ok(()) };
        };
        let recorded = self.0.record_left_out(kind, dropped);
        let written = self.0.write(record, in_log).map_err(|error| self.0.unrecorded(&error, 1));
        if self.0.enforce { recorded.and(written) } else { Ok(()) }
    }

    /// Schedules a record of what was left out, about a second from now.
    fn settle_soon(&self) {
        static QUEUE: OnceLock<Option<Sender<Weak<Inner>>>> = OnceLock::new();
        if self.0.settles.swap(true, Ordering::Relaxed) {
            return;
        }
        let start = || {
            let (sender, receiver) = channel();
            let thread = std::thread::Builder::new().name("bivium-audit".to_owned());
            // If there is no such thread, the next record or the plugin's end reports the count.
            thread.spawn(move || settle(&receiver)).ok().map(|_| sender)
        };
        if let Some(queue) = QUEUE.get_or_init(start) {
            let _ = queue.send(Arc::downgrade(&self.0));
        }
    }
}

/// Records how much was left out, some time after it happened.
fn settle(queue: &Receiver<Weak<Inner>>) {
    for first in queue {
        std::thread::sleep(Rate::WINDOW);
        for inner in std::iter::once(first).chain(queue.try_iter()).filter_map(|inner| inner.upgrade()) {
            inner.settles.store(false, Ordering::Relaxed);
            inner.settle();
        }
    }
}

impl Inner {
    fn rate(&self, kind: Kind) -> &Rate {
        match kind {
            Kind::Secret => &self.secrets,
            Kind::Grant => &self.grants,
            Kind::Denial => &self.denials,
        }
    }

    /// A record of a use that is allowed now.
    fn record(&self, instance: u64, call: Option<CallId>, permission: &'static str, resource: String) -> AuditRecord {
        AuditRecord { instance, call, ..AuditRecord::new(self.plugin.clone(), permission, resource) }
    }

    fn record_left_out(&self, kind: Kind, left_out: u64) -> Result<()> {
        if left_out == 0 {
            return Ok(());
        }
        let (name, most) = (kind.name(), Auditor::RECORDS);
        // A use can be denied without a record.
        let what = if self.enforce && !matches!(kind, Kind::Denial) { "refused and not recorded" } else { "left out" };
        let reason = format!("{left_out} {name} were {what}: more than {most} in a second");
        let record = self.record(0, None, "audit", name.to_owned());
        let written =
            self.write(&AuditRecord { decision: Decision::LeftOut, reason, left_out, ..record }, InLog::Warned);
        written.map_err(|error| self.unrecorded(&error, left_out))
    }

    /// Records now how much was left out.
    fn settle(&self) {
        for kind in Kind::ALL {
            let left_out = self.rate(kind).dropped();
            // Errors are logged there.
            let _ = self.record_left_out(kind, left_out);
        }
    }

    fn write(&self, record: &AuditRecord, in_log: InLog) -> Result<()> {
        if record.decision != Decision::Granted {
            let AuditRecord { permission, resource, reason, .. } = record;
            let message = match record.decision {
                Decision::LeftOut => format!("{permission}: {reason}"),
                _ => format!("denied: {permission} {resource}: {reason}"),
            };
            match in_log {
                InLog::Warned => {
                    self.log.push(LogLevel::Warn, LogSource::Host, record.instance, record.call, &message);
                }
                InLog::Noted => self.log.note(LogLevel::Warn, record.call, &message),
                InLog::Elsewhere => {}
            }
        }
        let Some(sink) = &self.sink else { return Ok(()) };
        let missing = self.unwritten.load(Ordering::Relaxed);
        if missing > 0 {
            let reason = format!("{missing} records could not be written");
            let missing_records = self.record(0, None, "audit", "records".to_owned());
            sink.record(&AuditRecord { decision: Decision::LeftOut, reason, left_out: missing, ..missing_records })?;
            self.unwritten.fetch_sub(missing, Ordering::Relaxed);
        }
        sink.record(record)?;
        self.is_troubled.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The error of a use for which there is no budget to record it.
    fn over_budget(&self, kind: Kind) -> PluginError {
        let (name, most) = (kind.name(), Auditor::RECORDS);
        PluginError::resource_exhausted(format!(
            "it may do nothing that is not recorded, and the audit log records at most {most} {name} of a plugin per second"
        ))
        .with_plugin(self.plugin.as_str())
        .with_help("call it less often, or remove `enforce` from its manifest and the host's policy")
    }

    /// Counts records that were not written and logs it, once until a record can be written again. Returns the error of a use that must not
    /// happen without its record.
    fn unrecorded(&self, error: &PluginError, missing: u64) -> PluginError {
        let plugin = self.plugin.as_str();
        self.unwritten.fetch_add(missing, Ordering::Relaxed);
        if !self.is_troubled.swap(true, Ordering::Relaxed) {
            tracing::error!(plugin, "the audit log cannot be written: {error}");
            let message = format!("the audit log cannot be written: {error}");
            self.log.push(LogLevel::Error, LogSource::Host, 0, None, &message);
        }
        let message = format!("it may do nothing that is not recorded, and {}", error.message());
        let refused = PluginError::new(error.code(), message).with_plugin(plugin);
        match error.help() {
            Some(help) => refused.with_help(help),
            None => refused,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.settle();
        let missing = *self.unwritten.get_mut();
        if missing > 0 {
            tracing::error!(
                plugin = self.plugin,
                "{missing} records are missing in the audit log: it could not be written"
            );
        }
    }
}

#[cfg(test)]
mod tests;
