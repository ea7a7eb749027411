//! Makes an environment and installs into it: with uv if it is on `PATH`, else with `venv` and pip.
//!
//! The requirements were checked before (`requirement`) and are passed after `--`; the installers run in the new
//! environment's own directory, so that a requirement's name cannot be taken for a file in the working directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bivium_interface::{Failure, LogLevel, LogSource, PluginError};
use bivium_records::PluginLog;
use tokio::process::Command;

use super::machine::Machine;
use super::requirement::WHEELS;
use super::run::run;

/// The path of the interpreter in an environment that was made.
pub(super) const PYTHON: &str = "bin/python";

/// The program with which an environment is made.
pub(super) enum Installer {
    Uv(PathBuf),
    Pip,
}

/// An environment to make.
pub(super) struct Work<'a> {
    pub(super) machine: &'a Machine,
    /// The interpreter that the environment is made from.
    pub(super) base: &'a Path,
    pub(super) requirements: &'a [&'a str],
    /// Where it is made; the path does not exist yet.
    pub(super) directory: &'a Path,
    /// The lock of the environment. The installer inherits it, so that it stays locked if this process ends first.
    pub(super) lock: &'a File,
    pub(super) log: &'a PluginLog,
}

impl Installer {
    pub(super) fn of(machine: &Machine) -> Self {
        machine.find("uv").map_or(Self::Pip, Self::Uv)
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Uv(_) => "uv",
            Self::Pip => "pip",
        }
    }

    /// Makes the environment.
    ///
    /// # Errors
    /// `unavailable` with the last lines of the program that failed, or with what to install.
    pub(super) async fn make(&self, work: &Work<'_>) -> Result<(), PluginError> {
        match self {
            Self::Uv(uv) => {
                let uv = |words: &[&str]| {
                    let mut command = work.machine.command(uv);
                    command.args(["--no-progress", "--color", "never"]).args(words);
                    command
                };
                let mut venv = uv(&["venv", "--no-project", "--no-python-downloads", "--python"]);
                venv.arg(work.base).arg("--").arg(work.directory);
                work.run("uv venv", venv, Path::new("/")).await?;
                let mut install = uv(&["pip", "install", "--python"]);
                install.arg(work.directory.join(PYTHON));
                work.install("uv", install).await?;
                work.compile().await;
                Ok(())
            }
            Self::Pip => {
                work.demand_venv().await?;
                let mut venv = work.python(work.base, &["-m", "venv"]);
                if work.requirements.is_empty() {
                    venv.arg("--without-pip");
                }
                venv.arg("--").arg(work.directory);
                work.run("python3 -m venv", venv, Path::new("/")).await?;
                let words = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"];
                work.install("pip", work.python(&work.directory.join(PYTHON), &words)).await
            }
        }
    }
}

impl Work<'_> {
    async fn install(&self, name: &str, mut command: Command) -> Result<(), PluginError> {
        if self.requirements.is_empty() {
            return Ok(());
        }
        if self.machine.wheels_only {
            command.arg("--only-binary=:all:");
        }
        command.arg("--").args(self.requirements);
        self.run(name, command, self.directory).await
    }

    /// Makes the bytecode of packages for a confined plugin: its workers may not write to the environment, and would compile the packages
    /// at each start. pip does this by itself, and so does uv by an option, but with the environment's Python, which runs code of
    /// packages when it starts (`.pth` files). Here they are only compiled. What cannot be compiled is left out, as pip does.
    async fn compile(&self) {
        if !self.machine.wheels_only || self.requirements.is_empty() {
            return;
        }
        // Links are resolved: beside the program is no environment then.
        let Ok(base) = self.base.canonicalize() else { return };
        let mut command = self.python(&base, &["-S", "-m", "compileall", "-q", "-j", "0"]);
        command.arg(self.directory).current_dir("/");
        // Old packages contain files for other versions of Python, and then it fails.
        let _ = run(command, &|_| {}).await;
    }

    /// Checks that the interpreter has `venv` and `ensurepip`, which Debian ships separately, so that the error is clear if it has not.
    async fn demand_venv(&self) -> Result<(), PluginError> {
        let needed = if self.requirements.is_empty() { "import venv" } else { "import venv, ensurepip" };
        let command = self.python(self.base, &["-c", needed]);
        self.run("python3", command, Path::new("/")).await.map_err(|error| {
            let missing = format!("{} cannot make environments: it lacks venv or ensurepip", self.base.display());
            let failure = error.failure().cloned().unwrap_or_else(|| Failure::new("", error.message()));
            let error = PluginError::unavailable(missing).with_failure(failure);
            error.with_help("install python3-venv (apt install python3-venv) or uv")
        })
    }

    fn python(&self, python: &Path, words: &[&str]) -> Command {
        let mut command = self.machine.command(python);
        command.arg("-I").args(words);
        command
    }

    async fn run(&self, name: &str, mut command: Command, directory: &Path) -> Result<(), PluginError> {
        let each = |line: &str| self.log.push(LogLevel::Debug, LogSource::Host, 0, None, line);
        let lock = self.lock.try_clone().map_err(|error| not_started(name, &error))?;
        // The lock file is empty, so there is no input; `made` says why it is this file.
        command.stdin(Stdio::from(lock)).current_dir(directory);
        let finished = run(command, &each).await.map_err(|error| not_started(name, &error))?;
        if finished.status.success() {
            return Ok(());
        }
        let last = finished.last_line();
        let failure = Failure::new(name, last).with_traceback(finished.tail.join("\n"));
        let wanted = match self.requirements {
            [] => "nothing".to_owned(),
            requirements => requirements.join(", "),
        };
        let settings = "check `requirements` in the manifest, the network and the index settings (PIP_*, UV_*)";
        let (from, help) = match self.machine.wheels_only && !self.requirements.is_empty() {
            true => (
                " from wheels only, because the plugin is confined",
                format!("{settings}; for a package without a wheel {WHEELS}"),
            ),
            false => ("", settings.to_owned()),
        };
        let message =
            format!("no environment with {wanted} could be made{from}: {name} ended with {}: {last}", finished.status);
        Err(PluginError::unavailable(message).with_failure(failure).with_help(help))
    }
}

fn not_started(name: &str, error: &std::io::Error) -> PluginError {
    PluginError::unavailable(format!("{name} cannot be run: {error}"))
}
