//! Records what workers report as denied to their plugins, in the audit log and in the plugin's log.
//!
//! The host does not learn of the kernel's refusals; the worker finds them in the causes of an error. The plugin may have made that
//! error itself. So a record names one of the known permissions and a resource that is short and escaped, and there is at most one
//! record for an error.

use std::sync::Arc;

use bivium_interface::{CallId, PluginError, clip, head};
use bivium_records::Auditor;

use crate::cures::Cures;
use crate::wire::WireError;

/// The permissions that a worker may name; `permissions` stands for something that none of them gives.
const PERMISSIONS: [&str; 3] = ["permissions.filesystem", "permissions.network", "permissions"];

/// The most bytes of a resource that are recorded.
const MAX_RESOURCE: usize = 500;

const REASON: &str = "the kernel refused it, as the worker reports";

/// Records the denials of one worker.
#[derive(Clone)]
pub(crate) struct Denials {
    pub(crate) audit: Auditor,
    /// The process id of the worker's guard.
    pub(crate) guard: u64,
    /// Whether the worker is confined: otherwise nothing is denied to it.
    pub(crate) confined: bool,
    pub(crate) cures: Option<Arc<Cures>>,
}

impl Denials {
    /// The error that a worker reports, after its denial was recorded, if it is one. If it must be recorded and cannot be, the error says
    /// why not.
    pub(crate) fn recorded(&self, call: Option<CallId>, mut error: WireError) -> PluginError {
        let denied = error.denied.take().filter(|_| self.confined);
        let recorded = denied.map_or(Ok(()), |denied| {
            let Some(permission) = PERMISSIONS.into_iter().find(|known| *known == denied.permission) else {
                return Ok(());
            };
            let resource = clip(head(&denied.resource, MAX_RESOURCE).escape_debug().to_string(), MAX_RESOURCE);
            self.audit.denied(self.guard, call, permission, resource, REASON)
        });
        match recorded {
            Ok(()) => match &self.cures {
                Some(cures) => cures.explain(error.into()),
                None => error.into(),
            },
            Err(unrecorded) => unrecorded,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bivium_interface::{ErrorCode, Result};
    use bivium_records::{AuditRecord, AuditSink, PluginLog};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Default)]
    struct Records(Mutex<Vec<AuditRecord>>);

    impl AuditSink for Records {
        fn record(&self, record: &AuditRecord) -> Result<()> {
            self.0.lock().unwrap().push(record.clone());
            Ok(())
        }
    }

    struct Full;

    impl AuditSink for Full {
        fn record(&self, _: &AuditRecord) -> Result<()> {
            Err(PluginError::resource_exhausted("full"))
        }
    }

    fn denials(sink: Arc<dyn AuditSink>, confined: bool) -> Denials {
        Denials { audit: Auditor::new("p", Some(sink), PluginLog::new("p")), guard: 7, confined, cures: None }
    }

    fn error(denied: &Value) -> WireError {
        serde_json::from_value(json!({"code": "denied", "message": "no", "type": "E", "denied": denied})).unwrap()
    }

    #[test]
    fn a_denial_is_recorded_and_a_forged_one_writes_no_more_than_a_short_resource() {
        let records = Arc::new(Records::default());
        let call = CallId::next();
        let tell = |confined, denied: &Value| {
            let told = denials(records.clone(), confined).recorded(Some(call), error(denied));
            assert_eq!((told.code(), told.message()), (ErrorCode::Denied, "no"));
            std::mem::take(&mut *records.0.lock().unwrap())
        };
        let denied = |permission: &str, resource: &str| json!({"permission": permission, "resource": resource});
        let recorded = tell(true, &denied("permissions.filesystem", "/etc/shadow"));
        let [record] = recorded.as_slice() else { panic!("{recorded:?}") };
        assert_eq!((record.plugin.as_str(), record.instance, record.call), ("p", 7, Some(call)));
        assert_eq!((record.permission, record.resource.as_str()), ("permissions.filesystem", "/etc/shadow"));
        assert_eq!(record.reason, REASON);
        for permission in ["permissions.filesystem\n", "another.permission", "permissions.secrets", "", "audit"] {
            assert_eq!(tell(true, &denied(permission, "x")), [], "{permission}");
        }
        assert_eq!(tell(true, &Value::Null), []);
        assert_eq!(
            tell(false, &denied("permissions.network", "x")),
            [],
            "nothing is denied to a worker that is not confined"
        );
        let forged = format!("x\n{{\"plugin\": \"other\"}}\u{1b}[31m\u{202e}{}", "é\n".repeat(1 << 20));
        let recorded = tell(true, &denied("permissions", &forged));
        let resource = &recorded[0].resource;
        assert!(resource.len() <= MAX_RESOURCE && resource.capacity() <= 2 * MAX_RESOURCE, "{}", resource.len());
        assert!(resource.starts_with(r#"x\n{\"plugin\": \"other\"}\u{1b}[31m\u{202e}é\n"#), "{resource}");
        assert!(!resource.contains(char::is_control), "{resource}");
    }

    #[test]
    fn a_denial_that_must_be_recorded_and_cannot_be_is_the_error() {
        let denied = json!({"permission": "permissions.network", "resource": "x"});
        let mut denials = denials(Arc::new(Full), true);
        assert_eq!(denials.recorded(None, error(&denied)).code(), ErrorCode::Denied);
        denials.audit = denials.audit.enforced();
        let told = denials.recorded(None, error(&denied));
        assert!(told.message().contains("nothing that is not recorded"), "{told}");
    }
}
