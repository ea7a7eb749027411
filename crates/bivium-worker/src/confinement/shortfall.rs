//! Which permissions and limits of a worker this machine cannot enforce. It is reported to callers and in the plugin's log, and a
//! plugin with `enforce` is not loaded then.

use bivium_instances::PluginContext;
use bivium_interface::manifest::Limits;
use bivium_interface::policy::{HostPattern, Scheme};
use bivium_interface::{Granted, LogLevel, LogSource, PluginError, Result};

/// The means of this machine to confine a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Means {
    pub(super) files: bool,
    pub(super) truncation: bool,
    pub(super) ports: bool,
    pub(super) signals: bool,
    pub(super) syscalls: bool,
    pub(super) group: bool,
    /// A root directory of its own.
    pub(super) root: bool,
    /// A PID namespace of its own.
    pub(super) processes: bool,
}

/// Logs in the plugin's log what is missing. It is the same at each load, so it is not a warning.
///
/// # Errors
/// `denied` if all of it must be enforced, naming each.
pub(super) fn tell(context: &PluginContext, means: Means) -> Result<()> {
    let missing = shortfall(&context.granted, means);
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(refusal) = refusal(&context.granted, &missing) {
        context.audit.withheld("enforce", "the worker", refusal.message())?;
        return Err(refusal);
    }
    context.log.push(LogLevel::Debug, LogSource::Host, 0, None, &cannot(&missing));
    Ok(())
}

fn cannot(missing: &[String]) -> String {
    format!("this machine cannot enforce all permissions and limits of the plugin's worker: {}", missing.join("; "))
}

/// Why a plugin that must be held is not loaded, if this is missing.
pub(super) fn refusal(granted: &Granted, missing: &[String]) -> Option<PluginError> {
    if !granted.enforce || missing.is_empty() {
        return None;
    }
    let (message, whose) = match granted.enforcing_policy() {
        Some(policy) => {
            (format!("{policy} has `enforce`, which this machine cannot do: {}", missing.join("; ")), policy)
        }
        None => (cannot(missing), "its manifest".to_owned()),
    };
    Some(PluginError::denied(message).with_help(cure(missing, &whose)))
}

/// What to do if it must be enforced. `whose` names the document that says so.
fn cure(missing: &[String], whose: &str) -> String {
    let limits = missing.iter().filter(|missing| missing.starts_with("limits.")).count();
    let mut cures = Vec::new();
    if limits > 0 {
        cures.push(
            "for the limits start the host with `systemd-run --user -p Delegate=yes -p DelegateSubgroup=host`, or leave \
             them out",
        );
    }
    if limits < missing.len() {
        cures.push("grant it what it can reach anyway, or make it a component");
    }
    format!("{}; or remove `enforce` from {whose}", cures.join("; "))
}

/// Seen on an H200 with driver 580: `cuInit` returns 304 if its process may not listen on a Unix socket, or may not write the
/// names of its threads to `/proc`. Both would affect processes outside a worker.
const NO_CUDA: &str = "CUDA does not start in a confined worker (error 304): its driver listens on a Unix socket and writes to \
    /proc, which a confined plugin may not do. A plugin that needs an NVIDIA GPU must be trusted: remove `permissions` from its \
    manifest, or `confine` from the host's policy";

/// Logs in the plugin's log that a confined plugin cannot use a GPU.
pub(super) fn tell_of_gpu(context: &PluginContext, requires_gpu: bool) {
    if requires_gpu && context.granted.confined {
        context.log.push(LogLevel::Warn, LogSource::Host, 0, None, NO_CUDA);
    }
}

/// What is missing: one sentence each, which begins with the manifest's key.
pub(super) fn shortfall(granted: &Granted, means: Means) -> Vec<String> {
    let mut missing = Vec::new();
    if granted.confined {
        permissions(granted, means, &mut missing);
    }
    limits(&granted.limits, means, &mut missing);
    missing
}

fn permissions(granted: &Granted, means: Means, missing: &mut Vec<String>) {
    let mut lacks = |key: &str, why: &str| missing.push(format!("permissions.{key}: {why}"));
    if !means.files {
        lacks("filesystem", "this kernel has no Landlock, so the worker may use every file that you may");
    } else if !means.truncation {
        lacks("filesystem", "this kernel (before 6.2) lets the worker truncate every file that you may write to");
    }
    if !means.syscalls {
        lacks("network", "there is no system call filter for this processor, so the worker may make any connection");
    } else {
        network(granted, means, &mut lacks);
    }
    if !means.root {
        lacks(
            "filesystem",
            "without a mount namespace the worker sees which files exist, their sizes, times and attributes, and may change modes and \
             times of files that you own",
        );
    }
    if !means.processes {
        lacks("filesystem", "without a PID namespace the worker sees which processes run and their arguments");
    }
    if !means.signals {
        lacks("filesystem", "this kernel (before 6.12) lets the worker signal every process that you may signal");
    }
    if !granted.permissions.clocks {
        lacks("clocks", "a process always has clocks");
    }
    if !granted.permissions.random {
        lacks("random", "a process always has random numbers");
    }
    if !granted.permissions.secrets.is_empty() {
        lacks("secrets", "a process sees the secret itself, and may send it wherever it may connect");
    }
}

fn network(granted: &Granted, means: Means, lacks: &mut impl FnMut(&str, &str)) {
    let rules = granted.network();
    if rules.iter().any(|rule| rule.scheme == Scheme::Udp || needs_names(&rule.host)) {
        lacks("network", "the worker may send UDP anywhere, since host names are looked up over UDP");
    }
    if rules.iter().any(|rule| rule.scheme != Scheme::Udp) {
        if !means.ports {
            lacks("network", "this kernel (before 6.7) lets the worker connect to every port");
        }
        if rules.iter().any(|rule| rule.host != HostPattern::Any) || !granted.permissions.private_network {
            lacks(
                "network",
                "the kernel can restrict ports but not hosts, so the worker may connect to every host at the ports that it is granted",
            );
        }
    }
}

/// Whether a connection to such a host needs a look-up of a name.
pub(super) fn needs_names(host: &HostPattern) -> bool {
    match host {
        HostPattern::Any | HostPattern::Below(_) => true,
        // Every machine has it in its hosts file.
        HostPattern::Name(name) => name != "localhost",
        HostPattern::Address(_) => false,
    }
}

fn limits(limits: &Limits, means: Means, missing: &mut Vec<String>) {
    if means.group {
        return;
    }
    let lacks = |key: &str, why: &str| format!("limits.{key}: {why}, because this host may use no control group");
    if limits.memory_mb.is_some() {
        missing.push(lacks("memory_mb", "it limits each process of the worker by itself"));
    }
    if limits.processes.is_some() {
        missing.push(lacks("processes", "it is not enforced"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::manifest::PythonManifest;
    use bivium_interface::HostPolicy;

    use super::*;

    const ALL: Means = Means {
        files: true,
        truncation: true,
        ports: true,
        signals: true,
        syscalls: true,
        group: true,
        root: true,
        processes: true,
    };

    fn keys(rest: &str, means: Means) -> Vec<String> {
        let text = format!(r#"{{"name": "p", "version": "1", "module": "m", "class": "C", {rest}}}"#);
        let manifest = PythonManifest::parse(&text, Path::new("/m/p.json")).unwrap();
        let found = shortfall(&HostPolicy::default().grant(&manifest), means);
        found.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_not_granted_is_not_reported_as_missing() {
        let none = Means::default();
        assert!(keys(r#""description": "trusted""#, none).is_empty());
        assert_eq!(keys(r#""limits": {"memory_mb": 10, "files": 5}"#, none), ["limits.memory_mb"]);
        assert!(keys(r#""permissions": {"clocks": true, "random": true}, "limits": {"processes": 3}"#, ALL).is_empty());
        let fixed = r#""clocks": true, "random": true, "private_network": true"#;
        assert!(keys(&format!(r#""permissions": {{{fixed}, "filesystem": []}}"#), ALL).is_empty());
        let by_address = format!(r#""permissions": {{{fixed}, "network": ["tcp://10.0.0.1:80"]}}"#);
        assert_eq!(keys(&by_address, ALL), ["permissions.network"], "the host is not enforced");
    }

    #[test]
    fn the_help_is_about_what_is_missing() {
        let all = |missing: &[&str]| missing.iter().map(|missing| format!("{missing}: …")).collect::<Vec<_>>();
        let cure = |missing: &[&str]| cure(&all(missing), "its manifest");
        let (limits, permissions) = (cure(&["limits.memory_mb"]), cure(&["permissions.clocks"]));
        assert!(limits.contains("`systemd-run ") && !limits.contains("grant"), "{limits}");
        assert!(permissions.contains("grant it") && !permissions.contains("systemd-run"), "{permissions}");
        let both = cure(&["permissions.clocks", "limits.processes"]);
        assert!(both.contains("grant it") && both.contains("systemd-run"), "{both}");
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let all = r#""permissions": {"network": ["https://a.example.com"], "secrets": [{"name": "K", "header": "X", "hosts": ["a.example.com"]}]},
            "limits": {"memory_mb": 10, "processes": 5}"#;
        let permissions = ["network", "network", "clocks", "random", "secrets"].map(|key| format!("permissions.{key}"));
        assert_eq!(keys(all, ALL), permissions);
        let old = Means {
            truncation: false,
            ports: false,
            signals: false,
            group: false,
            root: false,
            processes: false,
            ..ALL
        };
        let expected = [
            "filesystem",
            "network",
            "network",
            "network",
            "filesystem",
            "filesystem",
            "filesystem",
            "clocks",
            "random",
            "secrets",
        ]
        .map(|key| format!("permissions.{key}"));
        let expected = [expected.as_slice(), &["limits.memory_mb".to_owned(), "limits.processes".to_owned()]].concat();
        assert_eq!(keys(all, old), expected);
    }
}
