//! Chooses the Python interpreter for the workers of a manifest, and makes the environments for `requirements`.
//!
//! - `python_path`: that interpreter, after a check that it is suitable;
//! - `requirements`: that of a virtual environment which the host makes once and keeps (`made`, with an
//!   `installer`);
//! - neither: `python3` on `PATH` (`search`).
//!
//! A manifest is not trusted, so its requirements are checked before they are passed to an installer (`requirement`), and
//! installers get as little of the host's environment as they need (`machine`). Installing a package may
//! still run its author's code with this user's rights: nothing here is a sandbox. How the worker uses its
//! interpreter (module path, variables) is decided elsewhere. `docs/environments.md` is about this for users.

mod answers;
pub(crate) mod bytecode;
pub(crate) mod embedded;
mod facts;
mod hold;
mod installer;
mod kept;
mod lock;
mod machine;
mod made;
pub(crate) mod packages;
mod place;
mod probe;
mod requirement;
mod run;
mod search;
#[cfg(test)]
mod tests;
pub(crate) mod variables;
mod version;

use std::fmt;
use std::path::{Path, PathBuf};

use bivium_interface::{ErrorCode, LogLevel, LogSource, PluginError};
use bivium_records::PluginLog;

use facts::Facts;
pub(crate) use kept::environment_made;
pub use kept::{KeptEnvironment, environments_dir, environments_for, kept_environments, remove_environment};
use machine::Machine;
pub(crate) use place::cache_dir;
use place::place;
use probe::ProbeFailure;
use version::{Version, Wanted};

use crate::manifest::PythonManifest;

/// A Python interpreter that was queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The absolute path of the program. Symbolic links are not resolved, since a virtual environment's interpreter is one.
    pub(crate) path: PathBuf,
    /// Its version, at least 3.9.
    pub(crate) version: (u32, u32, u32),
    /// Whether it can call `prctl`.
    pub(crate) prctl: bool,
    /// Its implementation, minor version and ABI.
    tag: String,
    /// The same interpreter outside of any environment, with links resolved: a program that runs no code of a plugin. None if that is
    /// not sure.
    bare: Option<PathBuf>,
    /// Protects the environment, if the host made it, from being removed.
    hold: Option<hold::Hold>,
}

impl Interpreter {
    /// An interpreter with this path that gave this answer.
    fn new(path: PathBuf, facts: &Facts) -> Self {
        let Version(major, minor, micro) = facts.version;
        let (tag, bare) = (facts.tag.clone(), facts.program.canonicalize().ok());
        Self { path, version: (major, minor, micro), prctl: facts.prctl, tag, bare, hold: None }
    }
}

/// The interpreter for a worker of this manifest. Makes its environment under `environments` (by default in
/// [`cache_dir`]), which may take minutes; `log` gets a line when that begins and ends, and the installer's lines
/// at level debug. Each interpreter is queried once in a process, and its answer is kept in the cache for a day, so that a second plugin
/// costs nothing here.
///
/// For a plugin that is `confined` no code runs here that comes with it: no program of its own directory, and no build of a
/// package.
///
/// Dropping the future kills the installer; the next attempt removes what it had made.
///
/// # Errors
/// - `invalid-manifest`: a requirement or `requires_python` that is not well formed;
/// - `not-found`: `python_path` does not exist;
/// - `denied`: it is in the directory of a confined plugin's manifest;
/// - `unavailable`: no suitable interpreter, or the environment cannot be made; the installer's last lines are
///   in [`PluginError::failure`];
/// - `resource-exhausted`, `denied`, `internal`: the directory for environments cannot be used ([`lacks_place`]).
pub(crate) async fn interpreter(
    manifest: &PythonManifest,
    environments: Option<&Path>,
    cache: Option<&Path>,
    confined: bool,
    log: &PluginLog,
) -> Result<Interpreter, PluginError> {
    if confined && let Some(path) = &manifest.python.python_path {
        machines_own(manifest, path)?;
    }
    let mut found =
        choose(&Machine::here().keeps_in(cache).remembers_in(cache).wheels_only(confined), manifest, environments, log)
            .await?;
    // A shim may run any program.
    if confined && manifest.python.python_path.is_some() {
        machines_own(manifest, &found.path)?;
        found.bare = found.bare.filter(|bare| machines_own(manifest, bare).is_ok());
    }
    let (major, minor, micro) = found.version;
    let message = format!("Python {major}.{minor}.{micro} is {}", found.path.display());
    log.push(LogLevel::Debug, LogSource::Host, 0, None, &message);
    Ok(found)
}

/// What is wrong with the interpreter, the requirements and the versions of Python in a manifest, as far as that can be found without
/// running a program. `confined` says whether the plugin is confined.
pub(crate) fn refusals(manifest: &PythonManifest, confined: bool) -> Vec<PluginError> {
    let requirements = manifest.python.requirements.as_deref().unwrap_or_default();
    let python_path = manifest.python.python_path.as_deref().filter(|_| confined);
    let all = [
        requirement::check(manifest, requirements, confined).err(),
        Wanted::of(manifest).err(),
        python_path.and_then(|path| machines_own(manifest, path).err()),
    ];
    all.into_iter().flatten().collect()
}

/// Makes the environment of an interpreter again if the interpreter does not start any more. `broken` is the result of [`interpreter`], and
/// the other arguments are the same as there. Returns whether it was made again.
///
/// # Errors
/// As [`interpreter`].
pub(crate) async fn repair(
    broken: &Interpreter,
    manifest: &PythonManifest,
    environments: Option<&Path>,
    cache: Option<&Path>,
    confined: bool,
    log: &PluginLog,
) -> Result<bool, PluginError> {
    // The host does not change environments that it has not made.
    if broken.hold.is_none() {
        return Ok(false);
    }
    let refusal = if confined {
        // It is not run here: a wheel may have replaced it, or its `pyvenv.cfg`.
        let leads_there = broken.path.canonicalize().ok() == broken.bare;
        (!leads_there).then(|| "is not the interpreter that it was made with".to_owned())
    } else {
        let machine = Machine::here().keeps_in(cache);
        probe::probe(&machine, &broken.path).await.err().map(|refusal| refusal.to_string())
    };
    let Some(refusal) = refusal else { return Ok(false) };
    let message = format!("its environment is damaged and is made again: {} {refusal}", broken.path.display());
    log.push(LogLevel::Warn, LogSource::Host, 0, None, &message);
    made::mark_unfinished(&broken.path).map_err(|error| {
        PluginError::unavailable(format!(
            "the environment of {} is damaged, and cannot be made again: {error}",
            broken.path.display()
        ))
    })?;
    interpreter(manifest, environments, cache, confined, log).await.map(|_| true)
}

/// Whether the error of [`interpreter`] means that an environment cannot be made in its directory.
pub(crate) fn lacks_place(manifest: &PythonManifest, error: &PluginError) -> bool {
    let codes = [ErrorCode::ResourceExhausted, ErrorCode::Denied, ErrorCode::Internal];
    manifest.python.python_path.is_none() && manifest.python.requirements.is_some() && codes.contains(&error.code())
}

/// Refuses a program in the manifest's own directory: it would run unconfined, to find out its version. A link to an interpreter
/// outside is accepted.
fn machines_own(manifest: &PythonManifest, path: &Path) -> Result<(), PluginError> {
    let home = manifest.path.parent().and_then(|home| home.canonicalize().ok());
    let (Some(home), Ok(program)) = (home, path.canonicalize()) else { return Ok(()) };
    if !program.starts_with(home) {
        return Ok(());
    }
    let message = format!("python_path ({}) is a program in the manifest's own directory", path.display());
    Err(PluginError::denied(message)
        .with_help("a confined plugin needs an interpreter that is installed on the machine, or `requirements`"))
}

/// The same program by a path outside the directory of a confined plugin's manifest, if a link there leads to it. Beside the link could be
/// a `pyvenv.cfg`, which names the place of the standard library that Python then runs.
fn outside(manifest: &PythonManifest, path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    let Some(home) = manifest.path.parent().and_then(|home| home.canonicalize().ok()) else { return path };
    // The kernel follows no more links than this.
    for _ in 0..40 {
        let Some((place, name)) = path.parent().zip(path.file_name()) else { break };
        let Ok(place) = place.canonicalize() else { break };
        path = place.join(name);
        match std::fs::read_link(&path) {
            Ok(target) if place.starts_with(&home) => path = place.join(target),
            _ => break,
        }
    }
    path
}

async fn choose(
    machine: &Machine,
    manifest: &PythonManifest,
    environments: Option<&Path>,
    log: &PluginLog,
) -> Result<Interpreter, PluginError> {
    let wanted = Wanted::of(manifest)?;
    if let Some(path) = &manifest.python.python_path {
        return given(machine, manifest, path, &wanted).await;
    }
    let Some(requirements) = &manifest.python.requirements else {
        let facts = search::search(machine, manifest, &wanted).await?;
        return Ok(Interpreter::new(facts.program.clone(), &facts));
    };
    requirement::check(manifest, requirements, machine.wheels_only)?;
    let environments = place(environments)?;
    let base = search::search(machine, manifest, &wanted).await?;
    let (path, hold) = made::environment(machine, &environments, &base, requirements, log).await?;
    Ok(Interpreter { hold, ..Interpreter::new(path, &base) })
}

/// Whether a program is a shim, by which a manager of Python versions (pyenv, asdf, mise) starts its interpreters.
fn is_shim(path: &Path) -> bool {
    let real = path.canonicalize();
    [Ok(path), real.as_deref()]
        .into_iter()
        .flatten()
        .any(|path| path.parent().and_then(Path::file_name).is_some_and(|directory| directory == "shims"))
}

/// The interpreter that the manifest names.
async fn given(
    machine: &Machine,
    manifest: &PythonManifest,
    path: &Path,
    wanted: &Wanted,
) -> Result<Interpreter, PluginError> {
    let says =
        |what: &dyn fmt::Display| format!("python_path of {} ({}) {what}", manifest.path.display(), path.display());
    let asked = if machine.wheels_only { outside(manifest, path) } else { path.to_owned() };
    match probe::probe(machine, &asked).await {
        // For a shim, use the interpreter that answered: with the worker's directory and variables it might start another.
        Ok(facts) if wanted.takes(facts.version) && is_shim(path) => {
            Ok(Interpreter::new(facts.program.clone(), &facts))
        }
        // Not the program in the answer: `python_path` may be a script that prepares something first.
        Ok(facts) if wanted.takes(facts.version) => Ok(Interpreter::new(path.to_owned(), &facts)),
        Ok(facts) => {
            let what = format!("is Python {}, and the plugin needs {wanted}", facts.version);
            Err(PluginError::unavailable(says(&what)).with_help("name a Python of such a version"))
        }
        Err(ProbeFailure::Missing) => Err(PluginError::not_found(says(&ProbeFailure::Missing))
            .with_help("make that environment, or write `requirements` in its place: then the host makes one")),
        Err(refusal) => Err(PluginError::unavailable(says(&refusal))
            .with_help("name an environment's interpreter, for example …/bin/python")),
    }
}
