//! [`AccessRecorder`]: records which permissions a guest used, and what it was refused.
//!
//! Grants and denials go to the audit log with their call. The last refusal is remembered too: a guest only sees an error code and often
//! fails with it, and then the call's error names the refusal.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallId, ErrorCode, LogLevel, LogSource, PluginError};
use bivium_records::Auditor;

use super::log::GuestLog;

/// The recorder of one instance. Tasks that work for the guest hold it too.
pub(crate) struct AccessRecorder {
    audit: Auditor,
    log: Arc<GuestLog>,
    refused: Mutex<Option<PluginError>>,
    /// Whether there is a refusal; each call checks this when it begins.
    has_refused: AtomicBool,
    /// Why a use could not be recorded, if it must be: then the call fails, whatever the guest does.
    unrecorded: Mutex<Option<PluginError>>,
    is_unrecorded: AtomicBool,
    known: Mutex<Known>,
}

/// What was already recorded for one instance.
#[derive(Default)]
struct Known {
    /// Permissions whose grants the guest has asked for.
    used: Vec<&'static str>,
    /// Denials by permission, resource and reason.
    denied: HashSet<(&'static str, String)>,
}

impl AccessRecorder {
    /// The most denials that are remembered. Resources whose names the guest chooses are not among them.
    const MAX_KNOWN: usize = 256;

    pub(crate) fn new(audit: Auditor, log: Arc<GuestLog>) -> Self {
        Self {
            audit,
            log,
            refused: Mutex::default(),
            has_refused: AtomicBool::new(false),
            unrecorded: Mutex::default(),
            is_unrecorded: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    pub(crate) fn log(&self) -> &Arc<GuestLog> {
        &self.log
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<PluginError>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts again for a new call.
    pub(crate) fn begin(&self) {
        self.take_unrecorded();
        if self.has_refused.load(Ordering::Relaxed) {
            self.has_refused.store(false, Ordering::Relaxed);
            self.refused().take();
        }
    }

    /// Remembers that something could not be recorded that must be.
    fn recorded(&self, result: Result<(), PluginError>) -> bool {
        let Err(error) = result else { return true };
        self.refuse(error.clone());
        *self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.is_unrecorded.store(true, Ordering::Relaxed);
        false
    }

    /// Why the call fails, although the guest may not know it: something could not be recorded.
    pub(crate) fn take_unrecorded(&self) -> Option<PluginError> {
        if !self.is_unrecorded.load(Ordering::Relaxed) {
            return None;
        }
        self.is_unrecorded.store(false, Ordering::Relaxed);
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The guest asks to use a permission; `permission` is its key in the manifest.
    pub(crate) fn asks(self: &Arc<Self>, permission: &'static str, resource: impl Into<String>) -> Use {
        let (access, call) = (Arc::clone(self), self.log.call());
        Use { access, call, permission, resource: resource.into() }
    }

    /// Records that the guest is going to use a permission. If this is false, it must not.
    #[must_use]
    pub(crate) fn granted(self: &Arc<Self>, permission: &'static str, resource: impl Into<String>) -> bool {
        self.asks(permission, resource).granted()
    }

    /// Records, once for each instance, that the guest asked for all grants of a permission. If this is false, it must not see them.
    #[must_use]
    pub(crate) fn granted_once<'a>(
        self: &Arc<Self>,
        permission: &'static str,
        mut resources: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.has_used(permission) {
            return true;
        }
        let recorded = resources.all(|resource| self.granted(permission, resource));
        if recorded {
            self.known().used.push(permission);
        }
        recorded
    }

    /// Records that the guest asked for something that it may not have.
    pub(crate) fn denied(self: &Arc<Self>, permission: &'static str, resource: &str, reason: &str) {
        self.asks(permission, resource).denied(reason);
    }

    /// The same for operations that a guest can repeat at will: each resource and reason is logged once for each instance. `error` is the
    /// error of a call that fails because of it.
    pub(crate) fn denied_once(&self, permission: &'static str, resource: &str, reason: &str, error: PluginError) {
        let new = {
            let mut known = self.known();
            known.denied.len() < Self::MAX_KNOWN && known.denied.insert((permission, format!("{resource}: {reason}")))
        };
        if new {
            let result = self.audit.denied(self.log.instance(), self.log.call(), permission, resource, reason);
            if !self.recorded(result) {
                return;
            }
        }
        self.refuse(error);
    }

    /// Whether the guest has asked for its grants of a permission.
    pub(crate) fn has_used(&self, permission: &'static str) -> bool {
        self.known().used.contains(&permission)
    }

    /// Remembers that the guest exceeded a limit.
    pub(crate) fn refuse(&self, error: PluginError) {
        *self.refused() = Some(error);
        self.has_refused.store(true, Ordering::Relaxed);
    }

    /// The error of a call that failed with `error`: if something was refused to the guest before, that is the cause.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        if !matches!(error.code(), ErrorCode::PluginFailed | ErrorCode::Crashed) {
            return error;
        }
        let Some(refused) = self.refused().take() else { return error };
        let message = format!("{}; then it failed: {}", refused.message(), error.message());
        let mut explained = PluginError::new(refused.code(), message);
        if let Some(help) = refused.help() {
            explained = explained.with_help(help);
        }
        match error.failure() {
            Some(failure) => explained.with_failure(failure.clone()),
            None => explained,
        }
    }
}

/// One use of a permission. It belongs to the call that asked for it, however long the decision takes.
pub(crate) struct Use {
    access: Arc<AccessRecorder>,
    call: Option<CallId>,
    permission: &'static str,
    resource: String,
}

impl Use {
    pub(crate) fn resource(&self) -> &str {
        &self.resource
    }

    /// Another permission that the same use needs.
    pub(crate) fn with(&self, permission: &'static str, resource: String) -> Self {
        Self { access: Arc::clone(&self.access), call: self.call, permission, resource }
    }

    /// The use is allowed. If this is false, it must not happen all the same, since it could not be recorded.
    #[must_use]
    pub(crate) fn granted(&self) -> bool {
        let AccessRecorder { audit, log, .. } = &*self.access;
        let result = audit.granted(log.instance(), self.call, self.permission, self.resource.as_str());
        self.recorded(result)
    }

    fn recorded(&self, result: Result<(), PluginError>) -> bool {
        // A use of an earlier call that still goes on does not end this call.
        if self.call == self.access.log.call() { self.access.recorded(result) } else { result.is_ok() }
    }

    pub(crate) fn denied(&self, reason: &str) {
        let Self { access, call, permission, resource } = self;
        if !self.recorded(access.audit.denied(access.log.instance(), *call, permission, resource.as_str(), reason)) {
            return;
        }
        let error = PluginError::denied(format!("the plugin may not use {resource}: {reason}"));
        self.refuse(error.with_help(format!("`{permission}` in its manifest and the host's policy decide this")));
    }

    /// The use is within the permission but exceeds a limit.
    pub(crate) fn refuse(&self, error: PluginError) {
        if self.call == self.access.log.call() {
            self.access.refuse(error);
        }
    }

    /// The use was granted but failed. The guest only gets a code; the plugin's log has the reason.
    pub(crate) fn failed(&self, why: &dyn fmt::Display) {
        self.access.log.write(LogLevel::Warn, LogSource::Host, &format!("{}: {why}", self.resource));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::Failure;
    use bivium_records::PluginLog;

    #[test]
    fn a_guest_that_fails_after_a_refusal_failed_because_of_it() {
        let log = PluginLog::new("p");
        let audit = Auditor::new("p", None, log.clone());
        let access = Arc::new(AccessRecorder::new(audit, Arc::new(GuestLog::new(log.clone(), 3, 1000))));
        let failed = || {
            let failure = Failure::new("io", "no luck");
            PluginError::plugin_failed(failure)
        };
        assert_eq!(access.explain(failed()), failed());
        access.denied("permissions.network", "https://example.com", "no rule allows it");
        let own = PluginError::invalid_input("what it says of its input is no answer to a refusal");
        assert_eq!(access.explain(own.clone()), own);
        let error = access.explain(failed());
        assert_eq!(error.code(), ErrorCode::Denied);
        let text = error.to_string();
        for part in ["https://example.com", "no rule allows it", "io: no luck", "`permissions.network`"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.failure().unwrap().message, "no luck");
        assert_eq!(log.tail(1)[0].instance, 3);
        access.denied("permissions.network", "https://example.com", "no rule allows it");
        access.begin();
        assert_eq!(access.explain(failed()), failed(), "it was an earlier call");
    }
}
