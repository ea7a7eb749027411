//! [`Witness`]: what became of the things that a guest asked for beyond its own memory.
//!
//! Grants and denials go to the audit log with their call. The last thing that the host refused is remembered, too: a
//! guest sees no more than an error code and most often fails with it, and the call's error then says what lay behind.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::{CallId, ErrorCode, LogLevel, LogSource, PluginError};
use bivium_records::Auditor;

use super::log::GuestLog;

/// The witness of one instance. Tasks that work for the guest hold it, too.
pub(crate) struct Witness {
    audit: Auditor,
    log: Arc<GuestLog>,
    refused: Mutex<Option<PluginError>>,
    /// Whether there is any: each call asks when it begins.
    has_refused: AtomicBool,
    /// Why a use could not be recorded, where that must not be: the call fails by it, whatever the guest makes of it.
    unrecorded: Mutex<Option<PluginError>>,
    is_unrecorded: AtomicBool,
    known: Mutex<Known>,
}

/// What was told of one instance and need not be told again.
#[derive(Default)]
struct Known {
    /// Permissions of which the guest has asked what it has.
    used: Vec<&'static str>,
    /// Denials by permission, resource and reason.
    denied: HashSet<(&'static str, String)>,
}

impl Witness {
    /// Denials that are remembered. Resources whose names a guest makes up are not among them.
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

    /// A new call begins.
    pub(crate) fn begin(&self) {
        self.take_unrecorded();
        if self.has_refused.load(Ordering::Relaxed) {
            self.has_refused.store(false, Ordering::Relaxed);
            self.refused().take();
        }
    }

    /// Remembers that something could not be recorded that must be.
    fn recorded(&self, told: Result<(), PluginError>) -> bool {
        let Err(error) = told else { return true };
        self.refuse(error.clone());
        *self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.is_unrecorded.store(true, Ordering::Relaxed);
        false
    }

    /// Why the call fails, though the guest may not know it: something could not be recorded.
    pub(crate) fn take_unrecorded(&self) -> Option<PluginError> {
        if !self.is_unrecorded.load(Ordering::Relaxed) {
            return None;
        }
        self.is_unrecorded.store(false, Ordering::Relaxed);
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The guest asks for the use of a permission, whose key in the manifest this is.
    pub(crate) fn asks(self: &Arc<Self>, permission: &'static str, resource: impl Into<String>) -> Use {
        let (witness, call) = (Arc::clone(self), self.log.call());
        Use { witness, call, permission, resource: resource.into() }
    }

    /// The guest is going to use a permission. False if that must not happen.
    #[must_use]
    pub(crate) fn granted(self: &Arc<Self>, permission: &'static str, resource: impl Into<String>) -> bool {
        self.asks(permission, resource).granted()
    }

    /// The guest asks what it has of a permission: told once an instance. False if it must not see it.
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

    /// The guest asked for what it may not have.
    pub(crate) fn denied(self: &Arc<Self>, permission: &'static str, resource: &str, reason: &str) {
        self.asks(permission, resource).denied(reason);
    }

    /// The same for what a guest repeats at will: logs hear once an instance of a resource and a reason. `error` is that of
    /// a call that fails by it.
    pub(crate) fn denied_once(&self, permission: &'static str, resource: &str, reason: &str, error: PluginError) {
        let new = {
            let mut known = self.known();
            known.denied.len() < Self::MAX_KNOWN && known.denied.insert((permission, format!("{resource}: {reason}")))
        };
        if new {
            let told = self.audit.denied(self.log.instance(), self.log.call(), permission, resource, reason);
            if !self.recorded(told) {
                return;
            }
        }
        self.refuse(error);
    }

    /// Whether the guest has asked what it has of a permission.
    pub(crate) fn has_used(&self, permission: &'static str) -> bool {
        self.known().used.contains(&permission)
    }

    /// The guest asked for more than it may have.
    pub(crate) fn refuse(&self, error: PluginError) {
        *self.refused() = Some(error);
        self.has_refused.store(true, Ordering::Relaxed);
    }

    /// The error of a call that failed with `error`: a guest that gives up after it was refused something fails by that.
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

/// One use of a permission, which belongs to the call that asked for it, however long it takes to decide.
pub(crate) struct Use {
    witness: Arc<Witness>,
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
        Self { witness: Arc::clone(&self.witness), call: self.call, permission, resource }
    }

    /// It is allowed. False if it must not happen all the same, since it could not be recorded.
    #[must_use]
    pub(crate) fn granted(&self) -> bool {
        let Witness { audit, log, .. } = &*self.witness;
        let told = audit.granted(log.instance(), self.call, self.permission, self.resource.as_str());
        self.recorded(told)
    }

    fn recorded(&self, told: Result<(), PluginError>) -> bool {
        // An earlier call's use, which goes on beside this one, does not end this one.
        if self.call == self.witness.log.call() { self.witness.recorded(told) } else { told.is_ok() }
    }

    pub(crate) fn denied(&self, reason: &str) {
        let Self { witness, call, permission, resource } = self;
        if !self.recorded(witness.audit.denied(witness.log.instance(), *call, permission, resource.as_str(), reason)) {
            return;
        }
        let error = PluginError::denied(format!("the plugin may not use {resource}: {reason}"));
        self.refuse(error.with_help(format!("`{permission}` in its manifest and the host's policy decide")));
    }

    /// The use is within the permission, and beyond a limit.
    pub(crate) fn refuse(&self, error: PluginError) {
        if self.call == self.witness.log.call() {
            self.witness.refuse(error);
        }
    }

    /// The use was granted and came to nothing. The guest learns no more than a code; the plugin's log has the reason.
    pub(crate) fn failed(&self, why: &dyn fmt::Display) {
        self.witness.log.write(LogLevel::Warn, LogSource::Host, &format!("{}: {why}", self.resource));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::Failure;
    use bivium_records::PluginLog;

    #[test]
    fn a_guest_that_gives_up_after_a_refusal_failed_by_it() {
        let log = PluginLog::new("p");
        let audit = Auditor::new("p", None, log.clone());
        let witness = Arc::new(Witness::new(audit, Arc::new(GuestLog::new(log.clone(), 3, 1000))));
        let failed = || {
            let failure = Failure::new("io", "no luck");
            PluginError::plugin_failed(failure)
        };
        assert_eq!(witness.explain(failed()), failed());
        witness.denied("permissions.network", "https://example.com", "no rule allows it");
        let own = PluginError::invalid_input("what it says of its input is no answer to a refusal");
        assert_eq!(witness.explain(own.clone()), own);
        let error = witness.explain(failed());
        assert_eq!(error.code(), ErrorCode::Denied);
        let text = error.to_string();
        for part in ["https://example.com", "no rule allows it", "io: no luck", "`permissions.network`"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.failure().unwrap().message, "no luck");
        assert_eq!(log.tail(1)[0].instance, 3);
        witness.denied("permissions.network", "https://example.com", "no rule allows it");
        witness.begin();
        assert_eq!(witness.explain(failed()), failed(), "it was an earlier call");
    }
}
