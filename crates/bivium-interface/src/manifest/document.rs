//! [`Document`]: a manifest in the form of its file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::extensions::Extensions;
use super::limits::Limits;
use super::permissions::Permissions;
use super::plugin::Manifest;
use super::python::{PythonKind, PythonObject, PythonPlugin};
use super::resources::Resources;
use super::runtime::{Component, Instances, Isolation, Runtime, RuntimeKind, WasmPlugin};
use super::{schema, text};
use crate::lossy;

/// A manifest in the form of its file, with the keys of both runtimes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "Bivium plugin manifest",
    description = "Declares one plugin. Relative paths are relative to this file."
)]
pub(super) struct Document {
    /// The name by which the plugin is called: letters, digits, `-`, `_` and `.`, at most 64.
    #[schemars(with = "text::Name")]
    pub(super) name: String,
    /// The plugin's version.
    #[schemars(with = "text::Version")]
    pub(super) version: String,
    /// A description in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(with = "text::Prose", !skip_serializing_if)]
    pub(super) description: String,
    /// What kind of work it does, for example `transcription`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Label>")]
    pub(super) category: Option<String>,
    /// The runtime. If it is missing, a component implies `wasm`, and a module with a class, or a function, implies `python`.
    #[schemars(with = "Option<RuntimeKind>")]
    pub(super) runtime: RuntimeKind,
    /// The component's file (`.wasm`).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>", extend("x-runtime" = "wasm"))]
    pub(super) component: Option<PathBuf>,
    /// The SHA-256 digest of the component, in hexadecimal. A file with another digest is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Sha256>", extend("x-runtime" = "wasm"))]
    pub(super) sha256: Option<String>,
    /// Whether an instance serves many calls or only one.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if, extend("x-runtime" = "wasm"))]
    pub(super) isolation: Isolation,
    /// How many instances of a component there may be at once.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if, extend("x-runtime" = "wasm"))]
    pub(super) instances: Instances,
    /// The Python module.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Module>", extend("x-runtime" = "python"))]
    pub(super) module: Option<String>,
    /// The class in the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Class>", extend("x-runtime" = "python"))]
    pub(super) class: Option<String>,
    /// A Python function, as `module:function`, in place of `module` and `class`: it is the plugin's `execute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Function>", extend("x-runtime" = "python"))]
    pub(super) function: Option<String>,
    /// Keyword arguments of the class's constructor.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(
        !skip_serializing_if,
        extend("x-runtime" = "python", "maxProperties" = 256, "propertyNames" = schema::inline::<text::Argument>())
    )]
    pub(super) init_args: Map<String, Value>,
    /// A directory that is added to the worker's module path, for a plugin that is not an installed package.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>", extend("x-runtime" = "python"))]
    pub(super) source: Option<PathBuf>,
    /// The Python interpreter of an existing environment. Symbolic links are not resolved, because the interpreter of a virtual
    /// environment is one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy::optional")]
    #[schemars(with = "Option<text::FilePath>", extend("x-runtime" = "python"))]
    pub(super) python_path: Option<PathBuf>,
    /// Requirements (PEP 508). The host makes an environment for them and keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Requirement>>", length(max = 256), extend("x-runtime" = "python"))]
    pub(super) requirements: Option<Vec<String>>,
    /// The versions of Python with which the plugin works (PEP 440).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::PythonVersions>", extend("x-runtime" = "python"))]
    pub(super) requires_python: Option<String>,
    /// Environment variables that are set for the worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, text::EnvValue>",
        !skip_serializing_if,
        extend("x-runtime" = "python", "maxProperties" = 256, "propertyNames" = schema::inline::<text::EnvName>())
    )]
    pub(super) env_vars: BTreeMap<String, String>,
    /// Variables of the host's environment that a trusted worker gets, by name or by a pattern with `*`. A confined worker gets those in
    /// `permissions.env` instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::EnvPattern>", !skip_serializing_if, length(max = 256), extend("x-runtime" = "python"))]
    pub(super) pass_env: Vec<String>,
    /// How many calls a worker runs at once.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(!skip_serializing_if, range(min = 1, max = 64), extend("x-runtime" = "python"))]
    pub(super) concurrency: u32,
    /// How many workers the plugin has.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(!skip_serializing_if, range(min = 1, max = 64), extend("x-runtime" = "python"))]
    pub(super) replicas: u32,
    /// After how many idle seconds a worker is stopped, until the next call. If it is missing, workers are not stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000), extend("x-runtime" = "python"))]
    pub(super) idle_stop_s: Option<u64>,
    /// How many seconds a worker may take to start.
    #[serde(default = "start_s", skip_serializing_if = "is_start_s")]
    #[schemars(!skip_serializing_if, range(min = 1, max = 86_400), extend("x-runtime" = "python"))]
    pub(super) start_s: u64,
    /// JSON Schema of the configuration. If it is missing, the plugin is asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(super) config_schema: Option<Value>,
    /// What the machine must have for the plugin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) resources: Resources,
    /// What the plugin may do. A component without permissions may do nothing; a Python plugin without permissions is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) permissions: Option<Permissions>,
    /// How much the plugin may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) limits: Limits,
    /// Whether to refuse to start a worker whose permissions and limits this machine cannot enforce.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(!skip_serializing_if)]
    pub(super) enforce: bool,
}

impl Document {
    /// The manifest; `None` if a key is missing that its runtime needs, which the rules have reported.
    pub(super) fn into_manifest(self) -> Option<Manifest> {
        let runtime = match self.runtime {
            RuntimeKind::Wasm => Runtime::wasm(WasmPlugin {
                component: Component::File(self.component?),
                sha256: self.sha256.map(|sha256| sha256.to_ascii_lowercase()),
                isolation: self.isolation,
                instances: self.instances,
            }),
            RuntimeKind::Python => Runtime::python(PythonPlugin {
                object: object(self.function, self.module, self.class)?,
                init_args: self.init_args,
                source: self.source,
                python_path: self.python_path,
                requirements: self.requirements,
                requires_python: self.requires_python,
                env_vars: self.env_vars,
                pass_env: self.pass_env,
                concurrency: self.concurrency,
                replicas: self.replicas,
                idle_stop_s: self.idle_stop_s,
                start_s: self.start_s,
            }),
        };
        Some(Manifest {
            name: self.name,
            version: self.version,
            description: self.description,
            category: self.category,
            runtime,
            config_schema: self.config_schema,
            resources: self.resources,
            permissions: self.permissions,
            limits: self.limits,
            enforce: self.enforce,
            extensions: Extensions::default(),
            path: PathBuf::new(),
            is_bare: false,
        })
    }
}

/// The Python object that `function`, or `module` and `class`, name.
fn object(function: Option<String>, module: Option<String>, class: Option<String>) -> Option<PythonObject> {
    let (module, name, kind) = match function {
        Some(function) => {
            let (module, name) = function.split_once(':')?;
            (module.to_owned(), name.to_owned(), PythonKind::Function)
        }
        None => (module?, class?, PythonKind::Class),
    };
    Some(PythonObject { module, name, kind })
}

/// In the form of its file.
impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            #[serde(flatten)]
            document: Document,
            #[serde(flatten)]
            extensions: &'a Extensions,
        }
        Written { document: self.clone().into(), extensions: &self.extensions }.serialize(serializer)
    }
}

impl From<Manifest> for Document {
    fn from(manifest: Manifest) -> Self {
        let mut document = Self {
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            category: manifest.category,
            runtime: manifest.runtime.kind(),
            component: None,
            sha256: None,
            isolation: Isolation::default(),
            instances: Instances::default(),
            module: None,
            class: None,
            function: None,
            init_args: Map::new(),
            source: None,
            python_path: None,
            requirements: None,
            requires_python: None,
            env_vars: BTreeMap::new(),
            pass_env: Vec::new(),
            concurrency: one(),
            replicas: one(),
            idle_stop_s: None,
            start_s: start_s(),
            config_schema: manifest.config_schema,
            resources: manifest.resources,
            permissions: manifest.permissions,
            limits: manifest.limits,
            enforce: manifest.enforce,
        };
        match manifest.runtime {
            Runtime::Wasm(wasm) => {
                document.component = wasm.component.file().map(ToOwned::to_owned);
                (document.sha256, document.isolation, document.instances) =
                    (wasm.sha256.clone(), wasm.isolation, wasm.instances);
            }
            Runtime::Python(python) => document.set_python(&python),
        }
        document
    }
}

impl Document {
    fn set_python(&mut self, python: &PythonPlugin) {
        let PythonObject { module, name, kind } = python.object.clone();
        match kind {
            PythonKind::Function => self.function = Some(format!("{module}:{name}")),
            PythonKind::Class | PythonKind::Either => (self.module, self.class) = (Some(module), Some(name)),
        }
        self.init_args.clone_from(&python.init_args);
        self.source.clone_from(&python.source);
        self.python_path.clone_from(&python.python_path);
        self.requirements.clone_from(&python.requirements);
        self.requires_python.clone_from(&python.requires_python);
        self.env_vars.clone_from(&python.env_vars);
        self.pass_env.clone_from(&python.pass_env);
        (self.concurrency, self.replicas) = (python.concurrency, python.replicas);
        (self.idle_stop_s, self.start_s) = (python.idle_stop_s, python.start_s);
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

fn start_s() -> u64 {
    60
}

// serde calls these functions with a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_one(value: &u32) -> bool {
    *value == one()
}

#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_start_s(value: &u64) -> bool {
    *value == start_s()
}
