//! [`Cures`]: what to do about errors of Python that the manifest or the policy is behind, where Python itself does not know that: a
//! variable of the environment that the worker is not given, a module that its environment does not have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::policy::{SECRET_VARIABLE, matches_pattern};
use bivium_interface::{ErrorCode, Granted, PluginError};

use crate::environment::packages::{environment_of, modules_of, site_packages};
use crate::manifest::PythonManifest;

/// How Python, and a worker, say that a module is not there.
const NO_MODULE: &str = "no module ";
/// How they say it with the word `named`.
const NAMED: &str = "named ";

/// What is known of one plugin's workers.
pub(crate) struct Cures {
    pub(crate) manifest: PythonManifest,
    pub(crate) granted: Arc<Granted>,
    /// The interpreter.
    pub(crate) python: PathBuf,
}

impl Cures {
    /// The error that a worker tells, with what to do where that is known.
    pub(crate) fn explain(&self, error: PluginError) -> PluginError {
        let cure = unset_variable(&error).map(|name| self.of_variable(name, std::env::var_os(name).is_some()));
        match cure.or_else(|| self.of_module(missing_module(&error)?, error.code())) {
            Some(cure) => error.and_help(cure),
            None => error,
        }
    }

    /// A worker gets few variables of the host's.
    fn of_variable(&self, name: &str, is_set: bool) -> String {
        if name.starts_with(SECRET_VARIABLE) {
            return format!(
                "{name} is for the host alone: ask for a secret with `permissions.secrets` in the manifest"
            );
        }
        let asked = self.manifest.permissions.iter().flat_map(|permissions| &permissions.env);
        let (key, is_named) = match self.granted.confined {
            true => ("permissions.env", asked.into_iter().any(|known| known == name)),
            false => ("pass_env", self.manifest.python.pass_env.iter().any(|pattern| matches_pattern(pattern, name))),
        };
        let manifest = if self.manifest.is_bare() { "a manifest" } else { "its manifest" };
        let kept = format!("the host has the variable {name} and keeps it from the plugin");
        let unset = format!("the host has no variable {name}: set it where the host is started");
        match (is_set, is_named) {
            (true, false) => format!("{kept}: name it in `{key}` of {manifest}"),
            (true, true) => format!("{kept}, whose manifest names it in `{key}`"),
            (false, true) => unset,
            (false, false) => format!("{unset}, and name it in `{key}` of {manifest}"),
        }
    }

    /// `module` has dots where the modules above it are there.
    fn of_module(&self, module: &str, code: ErrorCode) -> Option<String> {
        let python = &self.manifest.python;
        let file = self.manifest.path.display();
        let top = module.split('.').next().unwrap_or(module);
        if let Some(name) =
            self.manifest.python.object.module.strip_suffix(".py").filter(|_| code == ErrorCode::InvalidManifest)
        {
            return Some(format!("a module's name has no `.py`: write `{name}`"));
        }
        if let Some(beside) = beside(&self.manifest, module) {
            return Some(format!("{} lies beside the manifest: add `\"source\": \".\"` to it", beside.display()));
        }
        let is_own = code == ErrorCode::InvalidManifest;
        // Modules that begin so are parts of others, which the interpreter was built without.
        if !is_own && (module.contains('.') || module.starts_with('_')) {
            return None;
        }
        if is_own && let Some(environment) = environment_of(&self.python) {
            let modules = modules_of(top, &site_packages(environment));
            if !modules.is_empty() && !modules.iter().any(|known| known == top) {
                let modules = modules.join(", ");
                return Some(format!(
                    "{top} is the name of a package, and its modules are {modules}: name one of those"
                ));
            }
        }
        match (&python.requirements, &python.python_path) {
            (Some(_), _) => Some(format!("if a package has it, add that to `requirements` in {file}")),
            (None, Some(_)) => {
                Some(format!("if a package has it, install that: {} -m pip install …", self.python.display()))
            }
            (None, None) if is_own && self.manifest.is_bare() => {
                Some("the interpreter does not look for it in the current directory: give the path of its file (FILE.py:NAME)".to_owned())
            }
            (None, None) if is_own && python.source.is_none() => Some(format!(
                "name its directory as `source`, or a package that has it in `requirements`, in {file}"
            )),
            (None, None) if is_own => None,
            (None, None) if self.manifest.is_bare() => {
                Some("if a package has it, write a manifest with that in `requirements`".to_owned())
            }
            (None, None) => Some(format!("if a package has it, list that as `requirements` in {file}")),
        }
    }
}

/// The file or directory of a module, or of the package that has it, beside the manifest, where there is no `source`.
pub(crate) fn beside(manifest: &PythonManifest, module: &str) -> Option<PathBuf> {
    let home = manifest.path.parent().filter(|_| manifest.python.source.is_none())?;
    let module = module.split('.').next().unwrap_or(module);
    let [file, package] = [home.join(format!("{module}.py")), home.join(module)];
    let is_module = |path: &Path| path.is_file() || path.join("__init__.py").is_file();
    [file, package].into_iter().find(|path| is_module(path))
}

/// The variable that the plugin looked for in `os.environ`, in vain.
fn unset_variable(error: &PluginError) -> Option<&str> {
    let failure = error.failure().filter(|failure| failure.kind == "KeyError")?;
    let is_environ = |line: &str| {
        let file = line.trim_start().strip_prefix("File \"").and_then(|rest| rest.split('"').next());
        file.is_some_and(|file| file == "<frozen os>" || file.ends_with("/os.py")) && line.ends_with("in __getitem__")
    };
    let last = failure.traceback.lines().rfind(|line| line.trim_start().starts_with("File \""))?;
    let name = failure.message.strip_suffix('\'')?.rsplit('\'').next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && is_environ(last)).then_some(name)
}

/// The module that was not found.
fn missing_module(error: &PluginError) -> Option<&str> {
    let said = error.message();
    let is_told = match error.failure() {
        Some(failure) => failure.kind == "ModuleNotFoundError",
        None => error.code() == ErrorCode::InvalidManifest,
    };
    let at = said.to_ascii_lowercase().find(NO_MODULE).filter(|_| is_told)?;
    let rest = said.get(at + NO_MODULE.len()..)?;
    let rest = rest.strip_prefix(NAMED).unwrap_or(rest).strip_prefix('\'')?;
    rest.split('\'').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use bivium_interface::{Failure, HostPolicy};

    use super::*;

    fn cures(dir: &Path, keys: &str) -> Cures {
        let text = format!(r#"{{"name": "p", "version": "1", "module": "words", "class": "C"{keys}}}"#);
        let manifest = PythonManifest::parse(&text, &dir.join("p.json")).unwrap();
        let granted = Arc::new(HostPolicy::default().grant(&manifest));
        Cures { manifest, granted, python: dir.join("env/bin/python") }
    }

    fn failed(kind: &str, message: &str, traceback: &str) -> PluginError {
        PluginError::plugin_failed(Failure::new(kind, message).with_traceback(traceback))
    }

    fn help(cures: &Cures, error: PluginError) -> String {
        cures.explain(error).help().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_variable_that_is_withheld_is_told_by_the_key_that_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let environ = "  File \"m.py\", line 3, in execute\n    x\n  File \"<frozen os>\", line 685, in __getitem__\nKeyError: 'PATH'";
        let unset = |name: &str| failed("KeyError", &format!("'{name}'"), environ);
        let told = help(&cures(dir.path(), ""), unset("PATH"));
        assert_eq!(
            told,
            "the host has the variable PATH and keeps it from the plugin: name it in `pass_env` of its manifest"
        );
        let confined = cures(dir.path(), r#", "permissions": {"env": ["NO_SUCH"]}"#);
        assert!(help(&confined, unset("PATH")).contains("in `permissions.env` of"));
        assert_eq!(
            help(&confined, unset("NO_SUCH")),
            "the host has no variable NO_SUCH: set it where the host is started"
        );
        let constructing = failed("KeyError", "constructing m.C() failed: KeyError: 'PATH'", environ);
        assert!(help(&confined, constructing).contains("PATH"));
        let own =
            "  File \"<frozen os>\", line 685, in __getitem__\n  File \"m.py\", line 3, in execute\nKeyError: 'PATH'";
        assert_eq!(help(&confined, failed("KeyError", "'PATH'", own)), "", "a dictionary of the plugin's own");
    }

    #[test]
    fn a_module_that_is_missing_is_told_by_where_it_would_come_from() {
        let dir = tempfile::tempdir().unwrap();
        let no_module = |name: &str| failed("ModuleNotFoundError", &format!("No module named '{name}'"), "");
        let own = |name: &str| {
            PluginError::invalid_manifest(format!("there is no module '{name}' in the plugin's environment (x)"))
        };
        let (bare, with) = (cures(dir.path(), ""), cures(dir.path(), r#", "requirements": ["numpy"]"#));
        assert!(help(&bare, no_module("yaml")).contains("list that as `requirements` in"));
        assert!(help(&with, no_module("yaml")).contains("add that to `requirements` in"));
        for other in [no_module("_ctypes"), no_module("yaml.no"), failed("ImportError", "No module named 'yaml'", "")] {
            assert_eq!(help(&bare, other), "");
        }
        assert!(help(&bare, own("words")).starts_with("name its directory as `source`, or a package"));
        let metadata = dir.path().join("env/lib/python3.12/site-packages/PyYAML-6.0.dist-info");
        std::fs::create_dir_all(&metadata).unwrap();
        std::fs::write(metadata.join("top_level.txt"), "_yaml\nyaml\n").unwrap();
        assert!(
            help(&with, own("PyYAML"))
                .starts_with("PyYAML is the name of a package, and its modules are yaml: name one")
        );
        std::fs::write(dir.path().join("words.py"), "").unwrap();
        assert!(
            help(&bare, own("words")).ends_with("words.py lies beside the manifest: add `\"source\": \".\"` to it")
        );
        let placed = cures(dir.path(), r#", "source": ".""#);
        assert_eq!(help(&placed, own("words")), "");
    }
}
