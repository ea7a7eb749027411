//! [`outline`]: reads a Python plugin's methods from its source. The source is parsed and never run: no interpreter starts.

mod absent;
mod constructor;
mod docstring;
mod expression;
mod files;
mod imports;
mod schema;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bivium_interface::manifest::{PythonKind, PythonObject};
use bivium_interface::{Call, MethodInfo, PluginError};
use serde::Serialize;
use serde_json::json;

use constructor::Constructor;
use files::Files;
use schema::Schemas;
use source::{Class, Definition, Function, Module, ObjectPath, clipped};

use crate::environment::environment_made;
use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;

/// Methods that the host calls itself, and that calls cannot reach, as in `bivium_worker/plugin.py`.
const LIFECYCLE: &[&str] = &[
    "initialize",
    "cleanup",
    "cancel",
    "cancelled",
    "report_progress",
    "execute_stream",
    "get_config_schema",
    "get_current_config",
];
/// How many imports and base classes are followed in a row.
const MOST_STEPS: usize = 8;
/// How many base classes of one class are read.
const MOST_CLASSES: usize = 32;
/// How many names are looked up, which limits the time.
const MOST_LOOKUPS: usize = 5000;
const TIME: Duration = Duration::from_secs(4);
/// How many methods of one plugin are described.
const MOST_METHODS: usize = 1000;
/// The most bytes of JSON for all of them; further methods are only named.
const LONGEST: usize = 512 << 10;
const MOST_NOTES: usize = 32;
/// Base classes without methods for calls; they are not read.
const ROOTS: &[&str] = &[
    "object",
    "ABC",
    "Generic",
    "Protocol",
    "BaseModel",
    "NamedTuple",
    "TypedDict",
    "Enum",
    "StrEnum",
    "IntEnum",
    "Flag",
    "IntFlag",
];

/// What a Python plugin's source shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outline {
    /// The file with the class or the function.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "bivium_interface::lossy::optional")]
    pub file: Option<PathBuf>,
    /// The methods that calls may reach, with their signatures. None if the class or function was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<MethodInfo>>,
    /// Arguments that the class's constructor needs and that `init_args` does not give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// Arguments that `init_args` gives and the constructor does not take, each with the one that was probably meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<(String, Option<String>)>,
    /// What the manifest names and seems not to exist: the module, or the class or function in it. The text begins with the manifest's
    /// key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

impl Outline {
    /// Why an object of the class cannot be made with the manifest's `init_args`, as far as its source shows.
    #[must_use]
    pub fn refusal(&self, manifest: &PythonManifest) -> Option<PluginError> {
        let listed = |names: Vec<String>| names.join(", ");
        let lacks: Vec<String> = self.lacks.iter().map(|name| format!("`{name}`")).collect();
        let unknown = self.unknown.iter().map(|(name, meant)| match meant {
            Some(meant) => format!("`{name}` (did you mean `{meant}`?)"),
            None => format!("`{name}`"),
        });
        let unknown: Vec<String> = unknown.collect();
        let (message, cure) = match (lacks.is_empty(), unknown.is_empty()) {
            (true, true) => return None,
            (false, true) => (format!("needs {}, which `init_args` does not give", listed(lacks)), "add it to"),
            (true, false) => (format!("takes no {}, which `init_args` gives", listed(unknown)), "remove it from"),
            (false, false) => {
                (format!("needs {}, and takes no {}", listed(lacks), listed(unknown)), "give what it takes in")
            }
        };
        let problem = PluginError::invalid_manifest(format!("its constructor {message}")).with_plugin(&manifest.name);
        Some(problem.with_help(format!("{cure} `init_args` in {}", manifest.path.display())))
    }
}

/// Reads the class or the function that a manifest names, if it is in `source` or in the environment of `python_path`. Blocks on the
/// file system.
#[must_use]
pub fn outline(manifest: &PythonManifest) -> Outline {
    read(manifest, None)
}

/// The same, also where it lies in the environment that a host with these places has made for the requirements, if it has made one.
/// `confined` tells whether the plugin is.
#[must_use]
pub fn outline_made(manifest: &PythonManifest, places: &WorkerPlaces, confined: bool) -> Outline {
    let requirements = manifest.python.requirements.as_deref();
    let made = requirements.and_then(|all| environment_made(all, confined, places.environments().as_deref()));
    read(manifest, made.as_deref())
}

fn read(manifest: &PythonManifest, made: Option<&Path>) -> Outline {
    let mut reading = Reading::new(Files::of(manifest, made));
    let PythonObject { module, name, kind, .. } = &manifest.python.object;
    let (first, inner) = name.split_once('.').map_or((name.as_str(), None), |(first, inner)| (first, Some(inner)));
    let place = ObjectPath { module: module.split('.').map(str::to_owned).collect(), name: first.to_owned() };
    let methods = match (reading.find(&place), inner) {
        (Some((module, Definition::Class(class))), Some(inner)) => {
            reading.begin(&module);
            let function = reading.methods(&module, &class).remove(inner);
            function.map(|(module, function)| vec![(module, as_execute(function))])
        }
        (Some((module, Definition::Class(class))), None) if *kind != PythonKind::Function => {
            reading.begin(&module);
            let mut methods = reading.methods(&module, &class);
            let constructor = Constructor::of(&class, &methods, reading.outline.notes.is_empty());
            (reading.outline.lacks, reading.outline.unknown) = constructor.misfits(&manifest.python.init_args);
            // A streaming call of `execute` runs `execute_stream`.
            let streaming = methods.get("execute_stream").cloned().filter(|_| !methods.contains_key(Call::EXECUTE));
            let streaming = streaming.map(|(module, function)| (module, as_execute(function)));
            methods.extend(streaming.map(|method| (Call::EXECUTE.to_owned(), method)));
            Some(methods.into_values().filter(|(_, function)| is_offered(function)).collect())
        }
        (Some((module, Definition::Function(function))), None) if *kind != PythonKind::Class => {
            reading.begin(&module);
            Some(vec![(module, as_execute(function))])
        }
        _ => None,
    };
    if methods.is_none() {
        let note = match reading.files.found(&place.module) {
            true => reading.absent(&place, name, *kind),
            false => reading.absent_module(module, manifest),
        };
        reading.outline.notes.push(note);
    }
    reading.outline.methods = methods.map(|methods| reading.told(methods));
    reading.outline
}

/// If a function is the plugin, it is the method `execute`.
fn as_execute(mut function: Function) -> Function {
    Call::EXECUTE.clone_into(&mut function.name);
    function
}

fn is_offered(function: &Function) -> bool {
    !function.name.starts_with('_') && !LIFECYCLE.contains(&function.name.as_str())
}

/// The definition of a name, and the module that contains it.
type Found = Option<(Rc<Module>, Definition)>;

struct Reading {
    files: Files,
    modules: HashMap<Vec<String>, Option<Rc<Module>>>,
    outline: Outline,
    lookups: usize,
    end: Instant,
    /// Whether the class has an `execute_stream`.
    streams: bool,
}

impl Reading {
    fn new(files: Files) -> Self {
        let (outline, modules) = (Outline::default(), HashMap::new());
        Self { files, modules, outline, lookups: 0, end: Instant::now() + TIME, streams: false }
    }

    /// The class or function with this name; follows imports.
    fn find(&mut self, place: &ObjectPath) -> Found {
        self.find_through(place, 0)
    }

    fn find_through(&mut self, place: &ObjectPath, steps: usize) -> Found {
        self.lookups += 1;
        if steps > MOST_STEPS || self.lookups > MOST_LOOKUPS || Instant::now() > self.end {
            return None;
        }
        let module = self.module(&place.module)?;
        if let Some(definition) = module.definition(&place.name) {
            return Some((module, definition));
        }
        let stars = module.stars().into_iter().map(|module| ObjectPath { module, name: place.name.clone() });
        let elsewhere: Vec<ObjectPath> = module.elsewhere(&place.name).into_iter().chain(stars).collect();
        elsewhere.iter().filter(|other| *other != place).find_map(|other| self.find_through(other, steps + 1))
    }

    fn module(&mut self, name: &[String]) -> Option<Rc<Module>> {
        if let Some(known) = self.modules.get(name) {
            return known.clone();
        }
        let module = match self.files.read(name) {
            Some(Ok(module)) => Some(Rc::new(module)),
            Some(Err(note)) => {
                self.note(note);
                None
            }
            None => None,
        };
        self.modules.insert(name.to_vec(), module.clone());
        module
    }

    /// Records the file.
    fn begin(&mut self, module: &Module) {
        self.outline.file = Some(module.path.clone());
        self.note_errors(module);
    }

    /// A class and its base classes, the nearest first, as far as their sources are found. The names of others are added to
    /// `missing`.
    fn lineage(&mut self, module: &Rc<Module>, class: &Class, missing: &mut Vec<String>) -> Vec<(Rc<Module>, Class)> {
        let mut all = vec![(Rc::clone(module), class.clone())];
        let mut left = vec![(Rc::clone(module), class.bases.clone())];
        while let Some((module, bases)) = left.pop() {
            let mut found = Vec::new();
            for base in bases.into_iter().filter(|base| !ROOTS.contains(&base.rsplit('.').next().unwrap_or(base))) {
                let place = ObjectPath { module: module.name.clone(), name: base };
                let definition = if all.len() < MOST_CLASSES { self.find(&place) } else { None };
                if let Some((module, Definition::Class(class))) = definition {
                    found.push((Rc::clone(&module), class.bases.clone()));
                    all.push((module, class));
                } else {
                    missing.push(place.name);
                }
            }
            left.extend(found.into_iter().rev());
        }
        all
    }

    /// The functions of a class and of its base classes, by name.
    fn methods(&mut self, module: &Rc<Module>, class: &Class) -> BTreeMap<String, (Rc<Module>, Function)> {
        let mut missing = Vec::new();
        let mut methods = BTreeMap::new();
        for (module, class) in self.lineage(module, class, &mut missing) {
            self.note_errors(&module);
            // If a name is defined several times, the last definition is valid.
            for function in class.methods.into_iter().rev() {
                self.streams |= function.name == "execute_stream";
                methods.entry(function.name.clone()).or_insert_with(|| (Rc::clone(&module), function));
            }
        }
        for base in missing {
            self.note(format!("it derives from {base}, whose methods are not known without running it"));
        }
        methods
    }

    /// The descriptions of the methods.
    fn told(&mut self, methods: Vec<(Rc<Module>, Function)>) -> Vec<MethodInfo> {
        let mut left = LONGEST;
        let mut all = Vec::new();
        for (module, function) in methods.into_iter().take(MOST_METHODS) {
            let mut told = self.method(&module, &function);
            let size = json!(told).to_string().len();
            if size > left {
                told = MethodInfo::new(&function.name);
            }
            left -= size.min(left);
            all.push(told);
        }
        all
    }

    fn method(&mut self, module: &Module, function: &Function) -> MethodInfo {
        let streams = function.yields || self.streams && function.name == Call::EXECUTE;
        let mut schemas = Schemas::new(self);
        let parameters = schemas.parameters(module, function);
        let (returns, comes_in_turn) =
            function.returns.as_ref().map_or((None, false), |returns| schemas.result(module, returns));
        let description = clipped(function.doc.lines().next().unwrap_or_default());
        let doc = if function.doc == description { "" } else { &function.doc };
        MethodInfo::new(&function.name)
            .with_description(description)
            .with_doc(doc)
            .with_signature(&function.signature)
            .with_parameters(parameters)
            .with_returns(returns)
            .with_streams(streams || comes_in_turn)
    }

    fn note_errors(&mut self, module: &Module) {
        if module.has_errors() {
            self.note(format!("{} has syntax errors, and was read as far as possible", module.path.display()));
        }
    }

    fn note(&mut self, note: String) {
        if self.outline.notes.len() < MOST_NOTES && !self.outline.notes.contains(&note) {
            self.outline.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests;
