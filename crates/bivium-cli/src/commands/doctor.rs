//! `bivium doctor`: checks whether this machine has everything that plugins need. It changes nothing, except that it deletes
//! files that killed hosts left behind, as every host does when it starts.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bivium::monitor::{MachineMonitor, Monitor as _};
use bivium::{
    ConfinementSupport, ErrorCode, Exchange, HostPolicy, ManagerBuilder, Manifest, PluginError, PythonManifest,
    SearchPath, Shadowed, default_data_dir, discover, environments_dir, not_held,
};
use bivium_wasm::WasmEngine;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::missing::missing;
use crate::args::Global;
use crate::exit::{DONE, FAILED};
use crate::failure::Failure;
use crate::host::{self, Place, builder, check_named, search_paths, wasm};
use crate::output::{Output, counted, on_one_line};

/// How long another program may take to print its version.
const ANSWER: Duration = Duration::from_secs(10);
/// Less free space than this gives a warning: audio or images soon use it up.
const LITTLE_SPACE: u64 = 256 << 20;
/// The size of the file that is written to find out whether a directory can be written to, in bytes.
const SMALL_FILE: usize = 4096;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    level: Level,
    what: &'static str,
    text: String,
}

impl Check {
    fn new(level: Level, what: &'static str, text: impl Into<String>) -> Self {
        Self { level, what, text: text.into() }
    }

    fn failed(what: &'static str, error: &PluginError) -> Self {
        Self::new(Level::Fail, what, error.to_string())
    }
}

pub(super) async fn doctor(global: &Global, output: &Output) -> Result<u8, Failure> {
    check_named(global)?;
    let mut checks = exchange();
    checks.push(data_dir(global));
    checks.extend(policy(global));
    checks.extend(engine(global));
    checks.extend(python(global).await);
    checks.push(confinement());
    checks.push(gpus());
    // A policy that cannot be read is told above.
    checks.extend(manifests(&search_paths(global), builder(global, Place::Searched).ok().as_ref()));
    checks.extend(lacking(global));
    let has_failed = checks.iter().any(|check| check.level == Level::Fail);
    if output.is_json() {
        output.value(&json!({"ok": !has_failed, "checks": checks}))?;
    } else {
        let line = |check: &Check| {
            let level = match check.level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            format!("{level:<4}  {}: {}", check.what, on_one_line(&check.text))
        };
        output.line(&checks.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(if has_failed { FAILED } else { DONE })
}

/// The directories of the exchange, and their free space.
fn exchange() -> Vec<Check> {
    let directories = match Exchange::open() {
        Ok(exchange) => exchange.directories(),
        Err(error) => return vec![Check::failed("exchange", &error)],
    };
    let mut roots: Vec<PathBuf> = directories.iter().filter_map(|dir| dir.parent().map(Path::to_owned)).collect();
    // Large blobs are stored there, in a session that is created with the first of them.
    let temp = std::env::temp_dir();
    if !roots.contains(&temp) {
        roots.push(temp);
    }
    // The names of this user's sessions begin like that of the session just closed. All others belong to hosts that are running.
    let name = directories.first().and_then(|dir| dir.file_name()?.to_str()).unwrap_or_default();
    let prefix = name.rfind('-').and_then(|at| name.get(..=at)).unwrap_or(name);
    roots.iter().map(|root| free_space(root, sessions(root, prefix))).collect()
}

/// The number of sessions in a directory.
fn sessions(root: &Path, prefix: &str) -> usize {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix))).count()
}

fn free_space(root: &Path, others: usize) -> Check {
    let what = "exchange";
    let sessions = match others {
        0 => String::new(),
        n => format!(", {n} in use by other hosts"),
    };
    match rustix::fs::statvfs(root) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let level = if free < LITTLE_SPACE { Level::Warn } else { Level::Ok };
            Check::new(level, what, format!("{} has {} MiB free{sessions}", root.display(), free >> 20))
        }
        Err(error) => Check::new(Level::Fail, what, format!("cannot look at {}: {error}", root.display())),
    }
}

/// What this machine has to confine Python plugins that have permissions.
fn confinement() -> Check {
    let ConfinementSupport { held, missing, .. } = ConfinementSupport::here();
    let (level, lacks) = match missing.is_empty() {
        true => (Level::Ok, String::new()),
        false => (Level::Warn, format!("; missing: {}", missing.join("; "))),
    };
    let held = if held.is_empty() { "nothing" } else { &held.join(", ") };
    Check::new(level, "confined workers", format!("confined with {held}{lacks}"))
}

/// The policy, if one is given.
fn policy(global: &Global) -> Option<Check> {
    let file = global.policy.as_ref()?;
    let policy = match host::policy(file) {
        Ok(policy) => policy,
        Err(error) => return Some(Check::failed("policy", &error)),
    };
    Some(match policy.trusting().or_else(|| unenforced(&policy)) {
        Some(gap) => Check::new(Level::Warn, "policy", gap),
        None => Check::new(Level::Ok, "policy", file.display().to_string()),
    })
}

/// That the policy has `enforce` and this machine cannot hold a Python plugin to its permissions, whatever they are.
fn unenforced(policy: &HostPolicy) -> Option<String> {
    let least = r#"{"name": "p", "version": "1", "module": "m", "class": "C", "permissions": {"clocks": true, "random": true}}"#;
    let granted = policy.grant(&Manifest::parse(least, Path::new("p.json")).ok()?);
    let missing = if granted.enforce { not_held(&granted) } else { Vec::new() };
    let told = || {
        format!(
            "{} has `enforce`, and this machine cannot hold a Python plugin with permissions to them, so that none is loaded: {}",
            policy.file.as_deref().unwrap_or(Path::new("")).display(),
            missing.join("; ")
        )
    };
    (!missing.is_empty()).then(told)
}

fn data_dir(global: &Global) -> Check {
    let what = "data directory";
    let Some(dir) = global.data_dir.clone().or_else(default_data_dir) else {
        return Check::new(Level::Fail, what, "this user has no home directory; name one with --data-dir");
    };
    match unwritable(&dir) {
        None => Check::new(Level::Ok, what, dir.display().to_string()),
        Some(why) => Check::new(Level::Fail, what, format!("{why}; name another with --data-dir")),
    }
}

/// Why a small file cannot be kept in this directory. If there is no such directory, it would be made when something is kept there.
fn unwritable(dir: &Path) -> Option<String> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let there = dir.ancestors().find(|dir| dir.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        let of = if there == dir { String::new() } else { format!(", so that {} cannot be made", dir.display()) };
        return Some(format!("{} is not a directory{of}", there.display()));
    }
    let written = tempfile::tempfile_in(there).and_then(|mut file| {
        file.write_all(&[0; SMALL_FILE])?;
        // Some file systems notice only then that they are full.
        file.sync_data()
    });
    written.err().map(|error| format!("{} cannot be written to ({error})", dir.display()))
}

/// The WebAssembly engine, and the cache of compiled components.
fn engine(global: &Global) -> Vec<Check> {
    let what = "WebAssembly";
    let engine = match wasm(global).and_then(WasmEngine::new) {
        Ok(engine) => engine,
        Err(error) => return vec![Check::failed(what, &error)],
    };
    let pools = if engine.is_pooling() {
        Check::new(Level::Ok, what, "the engine starts, with pools")
    } else {
        Check::new(
            Level::Warn,
            what,
            "the engine starts, but too little address space is allowed for pools: instances start slower (see `ulimit -v`)",
        )
    };
    let none = "so they are compiled at each load; name one with --cache";
    let cache = match engine.cache().map(|cache| (unwritable(&cache.directory), cache)) {
        Some((Some(why), _)) => {
            Check::new(Level::Warn, "cache", format!("no new compiled components can be stored ({why}), {none}"))
        }
        Some((None, cache)) => Check::new(
            Level::Ok,
            "cache",
            format!(
                "{}, {} MiB in {}",
                counted(cache.entries, "compiled component"),
                cache.bytes.div_ceil(1 << 20),
                cache.directory.display()
            ),
        ),
        None => Check::new(Level::Warn, "cache", format!("no directory can store compiled components, {none}")),
    };
    vec![pools, cache]
}

/// The Python interpreter, and the tools that make environments. A host that has only components needs neither.
async fn python(global: &Global) -> Vec<Check> {
    let probe = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.executable); \
                 sys.exit(3 if sys.version_info < (3, 9) else 0)";
    let mut checks = vec![match ask("python3", &["-I", "-c", probe]).await {
        Some((Some(0), said)) => Check::new(Level::Ok, "python", said),
        Some((Some(3), said)) => Check::new(Level::Warn, "python", format!("{said} is older than 3.9")),
        Some(_) => Check::new(Level::Warn, "python", "python3 does not run"),
        None => Check::new(Level::Warn, "python", "there is no python3, which Python plugins need"),
    }];
    let uv = ask("uv", &["--version"]).await;
    let venv = ask("python3", &["-I", "-c", "import venv, ensurepip"]).await;
    let made = match (uv, venv) {
        (Some((Some(0), said)), _) => Check::new(Level::Ok, "environments", format!("made by {said}")),
        (_, Some((Some(0), _))) => Check::new(Level::Ok, "environments", "made by python3 -m venv and pip"),
        _ => Check::new(
            Level::Warn,
            "environments",
            "neither uv nor python3 -m venv works: plugins with `requirements` cannot start; \
             install uv, or the package python3-venv on Debian and Ubuntu",
        ),
    };
    checks.push(match environments_dir(global.environments.as_deref()).map(|dir| unwritable(&dir)) {
        Ok(Some(why)) if made.level == Level::Ok => Check::new(
            Level::Warn,
            "environments",
            format!("{}, but not kept, because {why}; name another directory with --environments", made.text),
        ),
        _ => made,
    });
    checks
}

/// A program's exit status and its output; `None` if there is no such program or it does not end. It does not run in the current
/// directory, because that may hold a stranger's files, which must not be read or run.
async fn ask(program: &str, args: &[&str]) -> Option<(Option<i32>, String)> {
    let output = Command::new(program).args(args).current_dir("/").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(ANSWER, output).await.ok()?.ok()?;
    Some((output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn gpus() -> Check {
    let monitor = MachineMonitor::default();
    let gpus = monitor.snapshot().gpus;
    let gpu = |gpu: &bivium::monitor::Gpu| {
        format!("{} ({} of {} MiB free)", gpu.name, gpu.memory_free_bytes >> 20, gpu.memory_total_bytes >> 20)
    };
    let text = match gpus.as_slice() {
        [] => match monitor.why_no_gpu() {
            Some(why) => format!("none found ({why}): plugins that need one are not loaded"),
            None => "none found: plugins that need one are not loaded".to_owned(),
        },
        gpus => gpus.iter().map(gpu).collect::<Vec<_>>().join(", "),
    };
    if gpus.iter().any(|gpu| !gpu.tells_processes) {
        let why = "in this container NVML does not say which process holds what, so plugins count with all that they were promised";
        return Check::new(Level::Warn, "GPU", format!("{text}; {why}"));
    }
    Check::new(Level::Ok, "GPU", text)
}

/// The plugins whose calls this machine could never run. What is the same for several is told once.
fn lacking(global: &Global) -> Vec<Check> {
    let Some(manager) = builder(global, Place::Searched).and_then(ManagerBuilder::build).ok() else {
        return Vec::new();
    };
    let mut lacking: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in manager.discover().found.into_keys() {
        if let Ok(Some(refusal)) = manager.call_refusal(&name) {
            lacking.entry(refusal.sentence()).or_default().push(name);
        }
    }
    let told = |(why, names): (String, Vec<String>)| {
        Check::new(Level::Warn, "manifests", format!("{} would not be loaded on this machine: {why}", names.join(", ")))
    };
    lacking.into_iter().map(told).collect()
}

/// What is found, and what of it would not be loaded; `builder` is that of a host with this command line.
fn manifests(paths: &[SearchPath], builder: Option<&ManagerBuilder>) -> Vec<Check> {
    let what = "manifests";
    let discovery = discover(paths);
    let shown: Vec<String> = paths.iter().map(|place| place.path.display().to_string()).collect();
    let found = format!("{} found in {}", discovery.found.len(), shown.join(" and "));
    let mut checks = vec![Check::new(Level::Ok, what, found)];
    for Shadowed { name, path, by, .. } in &discovery.shadowed {
        let text = format!("{name}: {} is used, and {} is ignored", by.display(), path.display());
        checks.push(Check::new(Level::Warn, what, text));
    }
    // Files that are not read on purpose do not stop this user's plugins.
    let problem = |error: &PluginError| match error.code() {
        ErrorCode::Denied => Check::new(Level::Warn, what, error.to_string()),
        _ => Check::failed(what, error),
    };
    checks.extend(discovery.problems.iter().map(|(_, error)| problem(error)));
    // What is the same for several plugins is told once.
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for manifest in discovery.found.values() {
        let cannot_start = manifest.parts().find(|(key, file)| *key != "source" && !file.exists());
        if let Some((_, file)) = cannot_start {
            let text = format!("{} cannot start: {} does not exist", manifest.name, file.display());
            checks.push(Check::new(Level::Fail, what, text));
        }
        let refusals = builder.map(|builder| builder.refusals(manifest)).unwrap_or_default();
        for refusal in &refusals {
            refused.entry(refusal.sentence()).or_default().push(&manifest.name);
        }
        let outline = PythonManifest::of(manifest).map(|manifest| bivium::outline(&manifest));
        let others = missing(manifest, outline.as_ref()).into_iter().filter(|_| cannot_start.is_none());
        checks.extend(others.map(|text| Check::new(Level::Warn, what, format!("{}: {text}", manifest.name))));
    }
    let refused = refused.iter().map(|(why, names)| format!("{} would not be loaded: {why}", names.join(", ")));
    checks.extend(refused.map(|text| Check::new(Level::Fail, what, text)));
    checks
}
