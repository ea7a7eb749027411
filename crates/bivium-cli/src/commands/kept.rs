//! `bivium cache` and `bivium env`: what hosts keep and can make again, how large it is, and removing it. Nothing goes that a
//! running host uses.

use std::time::{Duration, SystemTime};

use bivium::{KeptEnvironment, PluginError, kept_environments, remove_environment};
use serde_json::{Value, json};

use crate::args::{EnvClean, Global};
use crate::exit::Failure;
use crate::host::wasm;
use crate::output::{Output, Table};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn list_cache(global: &Global, output: &Output) -> Result<(), Failure> {
    let compiled = wasm(global)?.cache_usage();
    if output.is_json() {
        return output.value(&json!({ "compiled": compiled.map(|usage| json!({
            "entries": usage.entries, "bytes": usage.bytes, "directory": usage.directory.display().to_string()
        })) }));
    }
    let mut table = Table::new(["WHAT", "ENTRIES", "SIZE", "DIRECTORY"]);
    if let Some(usage) = &compiled {
        let directory = usage.directory.display().to_string();
        table.row(["compiled components", &usage.entries.to_string(), &size(usage.bytes), &directory]);
    }
    output.line(&table.lines().join("\n"))
}

pub(super) fn clean_cache(global: &Global, output: &Output) -> Result<(), Failure> {
    let compiled = wasm(global)?.clear_cache()?;
    let (entries, bytes) = compiled.map_or((0, 0), |usage| (usage.entries, usage.bytes));
    if output.is_json() {
        return output.value(&json!({"compiled": {"entries": entries, "bytes": bytes}}));
    }
    output.line(&format!("removed {entries} compiled components, {}", size(bytes)))
}

pub(super) fn list_environments(global: &Global, output: &Output) -> Result<(), Failure> {
    let kept = kept_environments(global.environments.as_deref())?;
    if output.is_json() {
        return output.value(&Value::Array(kept.iter().map(as_json).collect()));
    }
    if kept.is_empty() {
        output.hint("There is no environment.");
        return Ok(());
    }
    let mut table = Table::new(["KEY", "SIZE", "USED", "REQUIREMENTS"]);
    for environment in &kept {
        let used = match environment.unused_for() {
            _ if environment.in_use => "now".to_owned(),
            None => "-".to_owned(),
            Some(ago) => format!("{} days ago", ago.as_secs() / DAY.as_secs()),
        };
        let holds = match &environment.requirements {
            Some(requirements) => requirements.join(", "),
            None => "(not finished)".to_owned(),
        };
        table.row([&environment.key, &size(environment.bytes), &used, &holds]);
    }
    output.line(&table.lines().join("\n"))
}

pub(super) fn clean_environments(global: &Global, output: &Output, args: &EnvClean) -> Result<(), Failure> {
    let kept = kept_environments(global.environments.as_deref())?;
    if let Some(key) = args.keys.iter().find(|key| !kept.iter().any(|one| one.key == **key)) {
        return Err(PluginError::not_found(format!("there is no environment {key:?}"))
            .with_help("`bivium env list` shows those that there are")
            .into());
    }
    let unused = |one: &KeptEnvironment| match args.unused_for {
        Some(days) => one.unused_for().is_some_and(|unused| unused >= DAY.saturating_mul(days)),
        None => true,
    };
    let (mut removed, mut in_use) = (Vec::new(), Vec::new());
    for one in kept.iter().filter(|one| args.keys.is_empty() || args.keys.contains(&one.key)).filter(|one| unused(one))
    {
        if remove_environment(one)? { removed.push(one) } else { in_use.push(one.key.as_str()) }
    }
    let bytes = removed.iter().map(|one| one.bytes).sum();
    if output.is_json() {
        let keys: Vec<&str> = removed.iter().map(|one| one.key.as_str()).collect();
        return output.value(&json!({"removed": keys, "bytes": bytes, "in_use": in_use}));
    }
    output.line(&format!("removed {} environments, {}", removed.len(), size(bytes)))?;
    if !in_use.is_empty() {
        output.hint(&format!("Left, since a host uses them: {}.", in_use.join(", ")));
    }
    Ok(())
}

fn as_json(environment: &KeptEnvironment) -> Value {
    let used = environment.used.and_then(|used| used.duration_since(SystemTime::UNIX_EPOCH).ok());
    json!({
        "key": environment.key,
        "path": environment.path.display().to_string(),
        "requirements": environment.requirements,
        "bytes": environment.bytes,
        "used_s": used.map(|used| used.as_secs()),
        "in_use": environment.in_use,
    })
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    }
}
