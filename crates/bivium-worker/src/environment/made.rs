//! Environments that the host makes for `requirements` and keeps.
//!
//! An environment is `<environments>/<key>`, where `<key>` is a digest of everything that determines its content. Virtual environments
//! cannot be moved, so it is made in its final place, and the stamp in it is written last: a directory without a stamp
//! is an unfinished attempt, and the next attempt removes it. The process that makes one holds `<key>.lock`, and the
//! installers inherit the lock as their standard input: if a host is killed while its installer still runs, no other host uses
//! the directory until the installer has ended.
//!
//! Nothing is removed because it is old. Environments that no host uses may be removed (`kept`).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bivium_interface::{LogLevel, LogSource, PluginError};
use bivium_records::PluginLog;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::facts::Facts;
use super::hold::{Hold, hold};
use super::installer::{Installer, PYTHON, Work};
use super::lock::{STOPPED, acquire};
use super::machine::{Machine, is_executable};

/// The version of the way in which environments are made from the same input.
const FORMAT: u32 = 1;
/// The file that marks a finished environment and describes it for people.
pub(super) const STAMP: &str = "bivium-environment.json";

/// The file that makes its directory a virtual environment for Python.
pub(super) const CONFIG: &str = "pyvenv.cfg";

/// Logs in the plugin's log what the host does.
fn say(log: &PluginLog, message: &str) {
    log.push(LogLevel::Info, LogSource::Host, 0, None, message);
}

/// The interpreter of the environment with these requirements, which is made unless it exists, and the lock that protects it from being
/// removed.
///
/// # Errors
/// `unavailable` if it cannot be made, `internal` if the directory cannot be used.
pub(super) async fn environment(
    machine: &Machine,
    environments: &Path,
    base: &Facts,
    requirements: &[String],
    log: &PluginLog,
) -> Result<(PathBuf, Option<Hold>), PluginError> {
    let requirements = sorted(requirements);
    let key = key(base, &requirements, machine.wheels_only);
    let directory = environments.join(&key);
    let python = directory.join(PYTHON);
    let unusable = |error: io::Error| {
        let message = format!("environments cannot be kept in {}: {error}", environments.display());
        let error = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PluginError::resource_exhausted(message),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => PluginError::denied(message),
            _ => PluginError::internal(message),
        };
        error.with_help("name another directory for environments (`--environments`, BIVIUM_ENVIRONMENTS, `ManagerBuilder::environments`)")
    };
    // Before it is checked: from now on nobody removes it. In a directory that cannot be written to nothing can be removed either.
    let held = hold(environments, &key).await.ok();
    if is_ready(&directory) {
        return Ok((python, held));
    }
    tokio::fs::create_dir_all(environments).await.map_err(unusable)?;
    let held = match held {
        Some(held) => held,
        None => hold(environments, &key).await.map_err(unusable)?,
    };
    let lock = acquire(&environments.join(format!("{key}.lock")), log, STOPPED, unusable).await?;
    if is_ready(&directory) {
        return Ok((python, Some(held)));
    }
    if remove(&directory).await.map_err(unusable)? {
        say(log, "removed an environment that was not finished or is damaged");
    }

    let installer = Installer::of(machine);
    let wanted = if requirements.is_empty() { "nothing".to_owned() } else { requirements.join(", ") };
    say(log, &format!("making an environment with {wanted} ({})", installer.name()));
    let start = Instant::now();
    let (base, requirements) = (base.program.as_path(), requirements.as_slice());
    let work = Work { machine, base, requirements, directory: &directory, lock: &lock, log };
    if let Err(error) = installer.make(&work).await {
        // The next attempt removes it if this fails.
        let _ = remove(&directory).await;
        return Err(if lacks_room(&error) { unusable(io::ErrorKind::StorageFull.into()) } else { error });
    }
    stamp(&directory, &work, installer.name()).map_err(unusable)?;
    say(log, &format!("made {} in {:.1} s", directory.display(), start.elapsed().as_secs_f64()));
    // Unlocked explicitly, for the case that the installer left a process behind that also holds the lock.
    lock.unlock().map_err(unusable)?;
    Ok((python, Some(held)))
}

/// Requirements as the stamp writes them: each once, sorted.
pub(super) fn sorted(requirements: &[String]) -> Vec<&str> {
    let mut requirements: Vec<_> = requirements.iter().map(String::as_str).collect();
    requirements.sort_unstable();
    requirements.dedup();
    requirements
}

/// Whether an installer reports that the disk is full.
fn lacks_room(error: &PluginError) -> bool {
    let said = error.failure().map_or("", |failure| &failure.traceback);
    ["No space left on device", "Disk quota exceeded", "os error 28", "os error 122"]
        .iter()
        .any(|one| said.contains(one))
}

/// A digest of everything that determines the content of an environment, including whether packages may be built for it. Of the
/// interpreter its file and its ABI count, but not its micro version: an environment still works after the system updates its Python in
/// place.
fn key(base: &Facts, requirements: &[&str], wheels_only: bool) -> String {
    let program = base.program.canonicalize().unwrap_or_else(|_| base.program.clone());
    let platform = [std::env::consts::OS, std::env::consts::ARCH];
    let mut whole =
        vec![json!(FORMAT), json!(requirements), json!(program.to_string_lossy()), json!(base.tag), json!(platform)];
    whole.extend(wheels_only.then(|| json!("wheels only")));
    let whole = serde_json::Value::from(whole);
    let digest = Sha256::digest(whole.to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is finished and its interpreter (a link to the one that it was made from) still exists, with the file that makes it a
/// virtual environment.
pub(super) fn is_ready(directory: &Path) -> bool {
    directory.join(STAMP).is_file() && directory.join(CONFIG).is_file() && is_executable(&directory.join(PYTHON))
}

/// Marks an environment as unfinished, so that the next one who needs it makes it again. `python` is its interpreter.
pub(super) fn mark_unfinished(python: &Path) -> io::Result<()> {
    let directory = python.ancestors().nth(2).ok_or(io::ErrorKind::InvalidInput)?;
    match std::fs::remove_file(directory.join(STAMP)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory; returns whether there was one.
async fn remove(directory: &Path) -> io::Result<bool> {
    match tokio::fs::remove_dir_all(directory).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn stamp(directory: &Path, work: &Work<'_>, installer: &str) -> io::Result<()> {
    let stamp = json!({
        "format": FORMAT, "requirements": work.requirements, "python": work.base.to_string_lossy(),
        "made_with": installer, "wheels_only": work.machine.wheels_only,
    });
    let unfinished = directory.join(format!("{STAMP}.new"));
    std::fs::write(&unfinished, format!("{stamp:#}\n"))?;
    std::fs::rename(unfinished, directory.join(STAMP))
}
