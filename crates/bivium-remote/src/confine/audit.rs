//! What the audit log is told of a worker's start: what it was given for its life.

use bivium_instances::PluginContext;

/// Tells it. `worker` is the process id.
pub(crate) fn audit(context: &PluginContext, worker: u64) {
    let granted = &context.granted;
    if !granted.confined {
        context.audit.granted(worker, None, "permissions", "everything: the worker is unconfined");
        return;
    }
    let permissions = &granted.permissions;
    let tell = |permission, resource: String| context.audit.granted(worker, None, permission, resource);
    for directory in &permissions.filesystem {
        tell("permissions.filesystem", format!("{} {}", directory.mode.verb(), directory.path.display()));
    }
    permissions.network.iter().for_each(|rule| tell("permissions.network", rule.clone()));
    permissions.env.iter().for_each(|name| tell("permissions.env", name.clone()));
    let known = permissions.secrets.iter().filter(|secret| context.secrets.get(&secret.name).is_some());
    known.for_each(|secret| tell("permissions.secrets", secret.name.clone()));
}
