//! Records in the audit log what a worker is granted when it starts.

use bivium_instances::PluginContext;
use bivium_interface::Result;

/// Records the grants, before the worker gets any of them. `guard` is the process id of its guard.
///
/// # Errors
/// The error of the audit log if the plugin has `enforce`: the worker must not start then.
pub(crate) fn audit(context: &PluginContext, guard: u64) -> Result<()> {
    let granted = &context.granted;
    if !granted.confined {
        return context.audit.granted(guard, None, "permissions", "everything: the worker is unconfined");
    }
    let permissions = &granted.permissions;
    let tell = |permission, resource: String| context.audit.granted(guard, None, permission, resource);
    for directory in &permissions.filesystem {
        tell("permissions.filesystem", format!("{} {}", directory.mode.verb(), directory.path.display()))?;
    }
    permissions.network.iter().try_for_each(|rule| tell("permissions.network", rule.clone()))?;
    permissions.env.iter().try_for_each(|name| tell("permissions.env", name.clone()))?;
    permissions.secrets.iter().try_for_each(|secret| tell("permissions.secrets", secret.name.clone()))
}
