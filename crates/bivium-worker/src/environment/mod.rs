//! Which Python interpreter a worker of a manifest runs with, and the environments made for `requirements`.
//!
//! - `python_path`: that interpreter, asked whether it will do;
//! - `requirements`: that of a virtual environment which the host makes once and keeps (`made`, by an
//!   `installer`);
//! - neither: `python3` on `PATH` (`search`).
//!
//! A manifest is a stranger's, so its requirements are checked before an installer sees them (`requirement`), and
//! installers see as little of the host's environment as they can work with (`machine`). Installing a package may
//! still run its author's code with this user's rights: nothing here is a sandbox. What the worker does with its
//! interpreter (module path, variables) is not decided here. `docs/environments.md` tells users all this.

mod answers;
pub(crate) mod embedded;
mod installer;
mod kept;
mod lock;
mod machine;
mod made;
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

pub use kept::{KeptEnvironment, environments_for, kept_environments, remove_environment};
use machine::Machine;
use probe::{Facts, ProbeFailure};
use version::{Version, Wanted};

use crate::manifest::PythonManifest;

/// A Python interpreter that was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The program, absolute; symbolic links in it are kept, since a virtual environment's interpreter is one.
    pub(crate) path: PathBuf,
    /// Its version, at least 3.9.
    pub(crate) version: (u32, u32, u32),
    /// Whether it reaches `prctl`.
    pub(crate) prctl: bool,
    /// Keeps the environment that the host made, if it is one, from being removed.
    hold: Option<kept::Hold>,
}

impl Interpreter {
    /// At this path, of an interpreter that said this.
    fn new(path: PathBuf, facts: &Facts) -> Self {
        let Version(major, minor, micro) = facts.version;
        Self { path, version: (major, minor, micro), prctl: facts.prctl, hold: None }
    }
}

/// The interpreter for a worker of this manifest. Makes its environment under `environments` (by default in
/// [`cache_dir`]), which may take minutes; `log` gets a line when that begins and ends, and the installer's lines
/// at level debug. Each interpreter is asked once in a process, and its answer kept in the cache for a day, so that a further plugin
/// costs nothing here.
///
/// For a plugin that is `confined` nothing that came with it runs here: no program of its own directory, and no package's
/// build.
///
/// Dropping the future kills the installer; what it had made is removed by the next attempt.
///
/// # Errors
/// - `invalid-manifest`: a requirement or `requires_python` that is not well formed;
/// - `not-found`: `python_path` does not exist;
/// - `denied`: it lies beside the manifest of a confined plugin;
/// - `unavailable`: no interpreter that will do, or the environment cannot be made; the installer's last lines are
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
    let found =
        choose(&Machine::here().keeps_in(cache).remembers_in(cache).wheels_only(confined), manifest, environments, log)
            .await?;
    // A shim may lead anywhere.
    if confined && manifest.python.python_path.is_some() {
        machines_own(manifest, &found.path)?;
    }
    let (major, minor, micro) = found.version;
    let message = format!("Python {major}.{minor}.{micro} is {}", found.path.display());
    log.push(LogLevel::Debug, LogSource::Host, 0, None, &message);
    Ok(found)
}

/// What is wrong with how a manifest names its interpreter, its requirements and its versions of Python, as far as that can be told without
/// running any. `confined` tells whether the plugin is.
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

/// Makes the environment of an interpreter that [`interpreter`] has given anew if that does not start any more; the arguments are
/// those that it was asked with. Says whether it did.
///
/// # Errors
/// As [`interpreter`].
pub(crate) async fn mend(
    broken: &Interpreter,
    manifest: &PythonManifest,
    environments: Option<&Path>,
    cache: Option<&Path>,
    confined: bool,
    log: &PluginLog,
) -> Result<bool, PluginError> {
    // What the host has not made it does not change.
    if broken.hold.is_none() {
        return Ok(false);
    }
    let machine = Machine::here().keeps_in(cache).wheels_only(confined);
    let Err(refusal) = probe::probe(&machine, &broken.path).await else { return Ok(false) };
    let message = format!("its environment is damaged and made anew: {} {refusal}", broken.path.display());
    log.push(LogLevel::Warn, LogSource::Host, 0, None, &message);
    made::give_up(&broken.path).map_err(|error| {
        PluginError::unavailable(format!(
            "the environment of {} is damaged, and cannot be made anew: {error}",
            broken.path.display()
        ))
    })?;
    interpreter(manifest, environments, cache, confined, log).await.map(|_| true)
}

/// Whether the error of [`interpreter`] says that an environment cannot be made where it should be.
pub(crate) fn lacks_place(manifest: &PythonManifest, error: &PluginError) -> bool {
    let codes = [ErrorCode::ResourceExhausted, ErrorCode::Denied, ErrorCode::Internal];
    manifest.python.python_path.is_none() && manifest.python.requirements.is_some() && codes.contains(&error.code())
}

/// Refuses a program that came with the manifest: it would run before it can be confined, to say which version it is. A
/// link to an interpreter of the machine's is none.
fn machines_own(manifest: &PythonManifest, path: &Path) -> Result<(), PluginError> {
    let home = manifest.path.parent().and_then(|home| home.canonicalize().ok());
    let (Some(home), Ok(program)) = (home, path.canonicalize()) else { return Ok(()) };
    if !program.starts_with(home) {
        return Ok(());
    }
    let message = format!("python_path ({}) is a program in the manifest's own directory", path.display());
    Err(PluginError::denied(message)
        .with_help("a confined plugin runs with an interpreter of the machine's, or with `requirements`"))
}

/// Where what can be made again lies: the platform's cache directory.
///
/// # Errors
/// `internal` for a user without a home directory.
pub(crate) fn cache_dir() -> Result<PathBuf, PluginError> {
    let directories = directories::ProjectDirs::from("", "", "bivium");
    directories.map(|directories| directories.cache_dir().to_owned()).ok_or_else(|| {
        PluginError::internal("this user has no home directory, so there is no place for a cache").with_help("set HOME")
    })
}

/// Where environments lie: in the directory that is given, or in [`cache_dir`].
fn place(given: Option<&Path>) -> Result<PathBuf, PluginError> {
    match given {
        Some(given) => {
            std::path::absolute(given).map_err(|error| PluginError::internal(format!("{}: {error}", given.display())))
        }
        None => Ok(cache_dir()?.join("environments")),
    }
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

/// Whether a program is one of those that a manager of Python versions (pyenv, asdf, mise) puts before its interpreters.
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
    match probe::probe(machine, path).await {
        // Of a shim the interpreter that answered: the worker's directory and variables could mean another.
        Ok(facts) if wanted.takes(facts.version) && is_shim(path) => {
            Ok(Interpreter::new(facts.program.clone(), &facts))
        }
        // Not the program that it names: what is at `python_path` may be a script that sets things up.
        Ok(facts) if wanted.takes(facts.version) => Ok(Interpreter::new(path.to_owned(), &facts)),
        Ok(facts) => {
            let what = format!("is Python {}, and the plugin needs {wanted}", facts.version);
            Err(PluginError::unavailable(says(&what)).with_help("name a Python that fits"))
        }
        Err(ProbeFailure::Missing) => Err(PluginError::not_found(says(&ProbeFailure::Missing))
            .with_help("make that environment, or give `requirements` in its place and the host makes one")),
        Err(refusal) => Err(PluginError::unavailable(says(&refusal))
            .with_help("name an environment's interpreter, for example …/bin/python")),
    }
}
