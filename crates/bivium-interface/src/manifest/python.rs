//! [`PythonPlugin`]: what only the manifest of a Python plugin has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Ancestor;

/// What only the manifest of a Python plugin has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PythonPlugin {
    /// The class or the function.
    pub object: PythonObject,
    /// Keyword arguments of the class's constructor.
    pub init_args: Map<String, Value>,
    /// A directory for the worker's module path, where the plugin is no installed package.
    pub source: Option<PathBuf>,
    /// The Python interpreter of an environment that exists already. Symbolic links in it are kept, since a
    /// virtual environment's interpreter is one.
    pub python_path: Option<PathBuf>,
    /// Requirements (PEP 508) of an environment that the host makes and keeps. Never beside `python_path`.
    pub requirements: Option<Vec<String>>,
    /// Which versions of Python will do (PEP 440).
    pub requires_python: Option<String>,
    /// Environment variables of the worker.
    pub env_vars: BTreeMap<String, String>,
    /// Variables of the host's environment that a trusted worker gets, by name, or by a pattern with `*`.
    pub pass_env: Vec<String>,
    /// How many calls a worker runs at once; at least 1.
    pub concurrency: u32,
    /// How many workers; at least 1.
    pub replicas: u32,
    /// After how many idle seconds a worker is stopped until the next call; never, if absent.
    pub idle_stop_s: Option<u64>,
    /// How many seconds a worker may take to start.
    pub start_s: u64,
    /// What only plugins of cjm-plugin-system have.
    pub ancestor: Option<Ancestor>,
}

/// The object of a Python module that is the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PythonObject {
    /// The module that is imported.
    pub module: String,
    /// The object's name in it; of a function it may have dots (`Class.method`).
    pub name: String,
    /// What it is.
    pub kind: PythonKind,
}

/// What the object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonKind {
    /// A class: the worker makes an object of it, whose methods are the plugin's.
    Class,
    /// A function: it is the method `execute`, and there is no other.
    Function,
    /// One of both, as the module has it: a plugin without a manifest is named on a command line, and the name does not say.
    Either,
}
