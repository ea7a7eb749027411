//! What installers and interpreters see of this machine: where programs are searched, and which environment variables
//! they get.
//!
//! Building a package runs its author's code, so the host's environment, which may contain keys and tokens, is not passed
//! on: only the variables that are needed to find, fetch and compile packages. This hides secrets from an ordinary
//! build; it is not a sandbox.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Access, access};
use tokio::process::Command;

use super::answers::Answers;
use super::place::cache_dir;

/// Variables that are passed on, by their whole name.
const NAMES: [&str; 26] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "TMPDIR",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "CUDA_HOME",
    "LD_LIBRARY_PATH",
];

/// Variables that are passed on, by the beginning of their name: the installers' own settings, the user's directories, the locale,
/// compilers, and version managers whose `python3` is a script that reads from its environment which Python to run.
const PREFIXES: [&str; 8] = ["PIP_", "UV_", "XDG_", "LC_", "PKG_CONFIG_", "PYENV_", "ASDF_", "MISE_"];

/// Settings of the installers that would install packages elsewhere than in the environment being made.
const ELSEWHERE: [&str; 7] =
    ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX"];

/// Where programs are searched, and which variables they get.
pub(super) struct Machine {
    path: OsString,
    variables: Vec<(OsString, OsString)>,
    /// Whether installers may install only wheels and build nothing: building a package runs its author's code.
    pub(super) wheels_only: bool,
    /// Where the answers of interpreters are kept; None if they are not kept.
    pub(super) answers: Option<Answers>,
}

/// The installers' download caches: the variable that sets each, and its directory in the host's cache.
const INSTALLERS_CACHES: &[(&str, &str)] = &[("PIP_CACHE_DIR", "pip"), ("UV_CACHE_DIR", "uv")];

impl Machine {
    /// The machine as this process sees it.
    pub(super) fn here() -> Self {
        let variables = std::env::vars_os().filter(|(name, _)| passes(name)).collect();
        Self::new(std::env::var_os("PATH").unwrap_or_default(), variables)
    }

    pub(super) fn new(path: OsString, variables: Vec<(OsString, OsString)>) -> Self {
        Self { path, variables, wheels_only: false, answers: None }
    }

    /// The same for a plugin whose authors are not trusted.
    pub(super) fn wheels_only(self, wheels_only: bool) -> Self {
        Self { wheels_only, ..self }
    }

    /// Sets the installers' download caches to the host's cache, if it is given and no other place is set.
    pub(super) fn keeps_in(mut self, cache: Option<&Path>) -> Self {
        let Some(cache) = cache.and_then(|cache| std::path::absolute(cache).ok()) else { return self };
        for (variable, directory) in INSTALLERS_CACHES {
            if !self.variables.iter().any(|(name, _)| name == variable) {
                self.variables.push(((*variable).into(), cache.join(directory).into()));
            }
        }
        self
    }

    /// Keeps the answers of interpreters in this cache, or in the platform's.
    pub(super) fn remembers_in(self, cache: Option<&Path>) -> Self {
        let cache = cache.map_or_else(cache_dir, |cache| Ok(cache.to_owned()));
        Self { answers: cache.ok().map(|cache| Answers::within(&cache)), ..self }
    }

    /// The program of this name on `PATH`. Relative entries of `PATH` are skipped, as they depend on the working
    /// directory.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(|program| is_executable(program))
    }

    /// A command without standard input, in a process group of its own.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("PATH", &self.path).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        command
    }
}

fn passes(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))) && !ELSEWHERE.contains(&name)
}

/// Whether this is a file that this process may run.
pub(super) fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_settings_and_no_secrets() {
        for name in ["HOME", "PIP_INDEX_URL", "UV_CACHE_DIR", "https_proxy", "LC_ALL", "XDG_CACHE_HOME"] {
            assert!(passes(name.as_ref()), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "UV_SYSTEM_PYTHON"] {
            assert!(!passes(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn installers_use_the_hosts_cache_unless_another_place_is_set() {
        let told = ("UV_CACHE_DIR".into(), "/told".into());
        let machine = Machine::new("/bin".into(), vec![told]).keeps_in(Some(Path::new("/cache")));
        let found: Vec<_> = machine.variables.iter().map(|(name, value)| (name.to_str(), value.to_str())).collect();
        assert_eq!(found, [(Some("UV_CACHE_DIR"), Some("/told")), (Some("PIP_CACHE_DIR"), Some("/cache/pip"))]);
        assert!(Machine::new("/bin".into(), Vec::new()).keeps_in(None).variables.is_empty());
    }

    #[test]
    fn finds_only_executables_in_absolute_directories() {
        let machine = Machine::new("relative:/etc:/bin".into(), Vec::new());
        assert_eq!(machine.find("sh"), Some("/bin/sh".into()));
        assert_eq!(
            machine.find("passwd").as_deref(),
            Path::new("/bin/passwd").is_file().then(|| Path::new("/bin/passwd"))
        );
        assert_eq!(machine.find("hostname-that-is-no-program"), None);
    }
}
