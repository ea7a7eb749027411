//! [`PythonPlugin`]: what only the manifest of a Python plugin has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// What only the manifest of a Python plugin has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PythonPlugin {
    /// The class or the function.
    pub object: PythonObject,
    /// Keyword arguments of the class's constructor.
    pub init_args: Map<String, Value>,
    /// A directory that is added to the worker's module path, for a plugin that is not an installed package.
    pub source: Option<PathBuf>,
    /// The Python interpreter of an existing environment. Symbolic links are not resolved, because the interpreter of a virtual
    /// environment is one.
    pub python_path: Option<PathBuf>,
    /// Requirements (PEP 508). The host makes an environment for them and keeps it. Never set together with `python_path`.
    pub requirements: Option<Vec<String>>,
    /// The versions of Python with which the plugin works (PEP 440).
    pub requires_python: Option<String>,
    /// Environment variables that are set for the worker.
    pub env_vars: BTreeMap<String, String>,
    /// Variables of the host's environment that a trusted worker gets, by name or by a pattern with `*`.
    pub pass_env: Vec<String>,
    /// How many calls a worker runs at once; at least 1.
    pub concurrency: u32,
    /// How many workers the plugin has; at least 1.
    pub replicas: u32,
    /// After how many idle seconds a worker is stopped, until the next call. `None` means never.
    pub idle_stop_s: Option<u64>,
    /// How many seconds a worker may take to start.
    pub start_s: u64,
}

/// The object of a Python module that is the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PythonObject {
    /// The module that is imported.
    pub module: String,
    /// The object's name in the module. A function's name may have dots (`Class.method`).
    pub name: String,
    /// The kind of object.
    pub kind: PythonKind,
}

/// The kind of a Python object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonKind {
    /// A class. The worker makes an object of it, whose methods are the plugin's methods.
    Class,
    /// A function. It is the method `execute`, and there is no other method.
    Function,
    /// A class or a function, whichever the module has. A plugin without a manifest is named on a command line, and the name does not tell.
    Either,
}
