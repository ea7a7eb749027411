//! `bivium cache` and `bivium env`: shows and removes caches and environments, which hosts can make again. What a running host uses is
//! not removed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bivium::{
    HostPolicy, KeptCache, KeptEnvironment, Manifest, PluginError, discover, kept_caches, kept_environments,
    remove_cache, remove_environment,
};
use serde_json::{Value, json};

use crate::args::{CacheClean, EnvClean, Global};
use crate::failure::Failure;
use crate::host::{search_paths, wasm};
use crate::output::{Output, Table, counted};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn list_cache(global: &Global, output: &Output) -> Result<(), Failure> {
    let compiled = wasm(global)?.cache_usage();
    let kept = kept_caches(global.cache.as_deref())?;
    if output.is_json() {
        let compiled = compiled.map(|usage| {
            json!({"entries": usage.entries, "bytes": usage.bytes, "directory": usage.directory.display().to_string()})
        });
        let plugins: Vec<Value> = kept.iter().map(cache_as_json).collect();
        return output.value(&json!({"compiled": compiled, "plugins": plugins}));
    }
    let mut table = Table::new(["WHAT", "ENTRIES", "SIZE", "USED", "DIRECTORY"]);
    if let Some(usage) = &compiled {
        let directory = usage.directory.display().to_string();
        table.row(["compiled components", &usage.entries.to_string(), &size(usage.bytes), "-", &directory]);
    }
    for cache in &kept {
        let used = used(cache.in_use, cache.used.and_then(|used| used.elapsed().ok()));
        let directory = cache.path.display().to_string();
        table.row([&of_plugin(cache), &cache.files.to_string(), &size(cache.bytes), &used, &directory]);
    }
    output.line(&table.lines().join("\n"))
}

pub(super) fn clean_cache(global: &Global, output: &Output, args: &CacheClean) -> Result<(), Failure> {
    let kept = kept_caches(global.cache.as_deref())?;
    let is_of = |cache: &KeptCache, name: &String| cache.plugin.as_ref() == Some(name);
    if let Some(name) = args.plugins.iter().find(|name| !kept.iter().any(|cache| is_of(cache, name))) {
        return Err(PluginError::not_found(format!("no plugin {name:?} has a cache"))
            .with_help("`bivium cache list` shows all caches")
            .into());
    }
    let compiled = if args.plugins.is_empty() { wasm(global)?.clear_cache()? } else { None };
    let (entries, compiled) = compiled.map_or((0, 0), |usage| (usage.entries, usage.bytes));
    let (mut removed, mut in_use) = (Vec::new(), Vec::new());
    for cache in
        kept.iter().filter(|cache| args.plugins.is_empty() || args.plugins.iter().any(|name| is_of(cache, name)))
    {
        if remove_cache(cache)? { removed.push(cache) } else { in_use.push(of_plugin(cache)) }
    }
    let bytes = removed.iter().map(|cache| cache.bytes).sum();
    if output.is_json() {
        return output.value(&json!({
            "compiled": {"entries": entries, "bytes": compiled},
            "plugins": {"removed": removed.len(), "bytes": bytes, "in_use": in_use},
        }));
    }
    if args.plugins.is_empty() {
        output.line(&format!("removed {}, {}", counted(entries, "compiled component"), size(compiled)))?;
    }
    output.line(&format!("removed {} of plugins, {}", counted(removed.len(), "cache"), size(bytes)))?;
    if !in_use.is_empty() {
        output.hint(&format!("Not removed, because a host uses them: {}.", in_use.join(", ")));
    }
    Ok(())
}

/// The plugin that a cache belongs to, and in which form the plugin ran.
fn of_plugin(cache: &KeptCache) -> String {
    let form = if cache.confined { "confined" } else { "trusted" };
    format!("{} ({form})", cache.plugin.as_deref().unwrap_or(&cache.key))
}

fn cache_as_json(cache: &KeptCache) -> Value {
    json!({
        "key": cache.key,
        "plugin": cache.plugin,
        "manifest": cache.manifest.as_ref().map(|path| path.display().to_string()),
        "confined": cache.confined,
        "path": cache.path.display().to_string(),
        "files": cache.files,
        "bytes": cache.bytes,
        "used_s": since_epoch(cache.used),
        "in_use": cache.in_use,
    })
}

pub(super) fn list_environments(global: &Global, output: &Output) -> Result<(), Failure> {
    let kept = kept_environments(global.environments.as_deref())?;
    let plugins = Plugins::found(global)?;
    if output.is_json() {
        let all = kept.iter().map(|environment| {
            let mut all = as_json(environment);
            if let Some(object) = all.as_object_mut() {
                object.insert("plugins".to_owned(), plugins.of(environment).into());
            }
            all
        });
        return output.value(&all.collect());
    }
    if kept.is_empty() {
        output.hint("There is no environment.");
        return Ok(());
    }
    let mut table = Table::new(["KEY", "SIZE", "PYTHON", "MADE WITH", "USED", "PLUGINS", "REQUIREMENTS"]);
    for environment in &kept {
        let used = used(environment.in_use, environment.unused_for());
        let python = environment.python_version.as_deref().unwrap_or("-");
        let wheels = if environment.wheels_only { ", wheels only" } else { "" };
        let made = format!("{}{wheels}", environment.made_with.as_deref().unwrap_or("-"));
        let plugins = plugins.of(environment);
        let plugins = if plugins.is_empty() { "-".to_owned() } else { plugins.join(", ") };
        let holds = match &environment.requirements {
            Some(requirements) => requirements.join(", "),
            None => "(not finished)".to_owned(),
        };
        table.row([&environment.key, &size(environment.bytes), python, &made, &used, &plugins, &holds]);
    }
    output.line(&table.lines().join("\n"))
}

/// The plugins that are found and need environments.
struct Plugins {
    found: Vec<Arc<Manifest>>,
    policy: HostPolicy,
}

impl Plugins {
    fn found(global: &Global) -> Result<Self, Failure> {
        let policy = global.policy.as_deref().map(HostPolicy::read).transpose()?.unwrap_or_default();
        let found = discover(&search_paths(global)).found.into_values();
        Ok(Self { found: found.filter(|manifest| manifest.requirements().is_some()).collect(), policy })
    }

    /// The names of the plugins that an environment was made for.
    fn of(&self, environment: &KeptEnvironment) -> Vec<&str> {
        let is_of = |manifest: &&Arc<Manifest>| {
            let requirements = manifest.requirements().unwrap_or_default();
            environment.is_for(requirements, self.policy.grant(manifest).confined)
        };
        self.found.iter().filter(is_of).map(|manifest| manifest.name.as_str()).collect()
    }
}

pub(super) fn clean_environments(global: &Global, output: &Output, args: &EnvClean) -> Result<(), Failure> {
    let kept = kept_environments(global.environments.as_deref())?;
    if let Some(key) = args.keys.iter().find(|key| !kept.iter().any(|one| one.key == **key)) {
        return Err(PluginError::not_found(format!("there is no environment {key:?}"))
            .with_help("`bivium env list` shows all environments")
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
    output.line(&format!("removed {}, {}", counted(removed.len(), "environment"), size(bytes)))?;
    if !in_use.is_empty() {
        output.hint(&format!("Not removed, because a host uses them: {}.", in_use.join(", ")));
    }
    Ok(())
}

pub(super) fn as_json(environment: &KeptEnvironment) -> Value {
    json!({
        "key": environment.key,
        "path": environment.path.display().to_string(),
        "requirements": environment.requirements,
        "python": environment.python.as_ref().map(|path| path.display().to_string()),
        "python_version": environment.python_version,
        "made_with": environment.made_with,
        "wheels_only": environment.wheels_only,
        "ready": environment.is_ready,
        "bytes": environment.bytes,
        "used_s": since_epoch(environment.used),
        "in_use": environment.in_use,
    })
}

fn since_epoch(time: Option<SystemTime>) -> Option<u64> {
    Some(time?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// When something was last used.
fn used(in_use: bool, ago: Option<Duration>) -> String {
    match ago {
        _ if in_use => "now".to_owned(),
        None => "-".to_owned(),
        Some(ago) => match ago.as_secs() / DAY.as_secs() {
            0 => "less than a day ago".to_owned(),
            1 => "a day ago".to_owned(),
            days => format!("{days} days ago"),
        },
    }
}

/// A number of bytes, as text.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    }
}
