//! [`outline`]: what a Python plugin's source says of it. It is parsed, and nothing of it runs: no interpreter starts.

mod files;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bivium_interface::manifest::{PythonKind, PythonObject};
use bivium_interface::{Call, Manifest, MethodInfo};
use serde::Serialize;

use files::Files;
use source::{Class, Definition, Module, Place};

/// Names of the class that belong to the host and are no methods for calls, as in `bivium_worker/plugin.py`.
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
/// Imports that are followed and base classes that are looked into, one behind the other.
const MOST_STEPS: usize = 8;
/// Classes of one plugin that are looked at.
const MOST_CLASSES: usize = 32;
/// Base classes that have no methods for calls.
const EMPTY_BASES: &[&str] = &["object", "ABC", "abc.ABC"];

/// What a Python plugin's source says of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outline {
    /// The file with the class or the function.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "bivium_interface::lossy::optional")]
    pub file: Option<PathBuf>,
    /// The methods that calls may reach, with their signatures. None where it was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<MethodInfo>>,
    /// What could not be known, and why.
    pub notes: Vec<String>,
}

/// Reads the class or the function that a manifest names, where it lies in `source` or in the environment of `python_path`. Blocks on the
/// file system.
#[must_use]
pub fn outline(manifest: &Manifest) -> Outline {
    let mut reading =
        Reading { files: Files::of(manifest), methods: BTreeMap::new(), outline: Outline::default(), classes: 0 };
    let Some(PythonObject { module, name, kind }) = manifest.python_object() else { return reading.outline };
    let (first, inner) = name.split_once('.').map_or((name, None), |(first, inner)| (first, Some(inner)));
    let place = Place { module: module.split('.').map(str::to_owned).collect(), name: first.to_owned() };
    let methods = match (reading.find(&place, 0), inner) {
        (Some((module, Definition::Class(class))), Some(inner)) => {
            reading.outline.file = Some(module.path.clone());
            reading.take(&module, &class, 0);
            reading.methods.remove(inner).map(|function| vec![as_execute(function)])
        }
        (Some((module, Definition::Class(class))), None) if kind != PythonKind::Function => {
            reading.outline.file = Some(module.path.clone());
            reading.take(&module, &class, 0);
            Some(std::mem::take(&mut reading.methods).into_values().collect())
        }
        (Some((module, Definition::Function(function))), None) if kind != PythonKind::Class => {
            reading.outline.file = Some(module.path.clone());
            reading.note_errors(&module);
            Some(vec![as_execute(function)])
        }
        _ => None,
    };
    if methods.is_none() {
        let what = match kind {
            PythonKind::Class => "class",
            PythonKind::Function => "function",
            PythonKind::Either => "class or function",
        };
        reading.outline.notes.push(if reading.files.found(&place.module) {
            format!("no {what} {name} is defined in the module {module} where it can be seen without running it")
        } else {
            reading.files.missing(module, manifest)
        });
    }
    reading.outline.methods = methods;
    reading.outline
}

/// A function that is the plugin is its `execute`.
fn as_execute(mut function: MethodInfo) -> MethodInfo {
    Call::EXECUTE.clone_into(&mut function.name);
    function
}

struct Reading {
    files: Files,
    methods: BTreeMap<String, MethodInfo>,
    outline: Outline,
    classes: usize,
}

impl Reading {
    /// The class or function of this name, through the imports that lead to it.
    fn find(&mut self, place: &Place, steps: usize) -> Option<(Module, Definition)> {
        if steps > MOST_STEPS {
            return None;
        }
        let module = match self.files.read(&place.module)? {
            Ok(module) => module,
            Err(note) => {
                self.outline.notes.push(note);
                return None;
            }
        };
        if let Some(definition) = module.definition(&place.name) {
            return Some((module, definition));
        }
        let elsewhere = module.import(&place.name)?;
        self.find(&elsewhere, steps + 1)
    }

    /// Takes the methods of a class and of those that it derives from, the nearest first.
    fn take(&mut self, module: &Module, class: &Class, steps: usize) {
        self.classes += 1;
        self.note_errors(module);
        for method in &class.methods {
            let is_hidden = method.name.starts_with('_') || LIFECYCLE.contains(&method.name.as_str());
            if !is_hidden && !self.methods.contains_key(&method.name) {
                self.methods.insert(method.name.clone(), method.clone());
            }
        }
        for base in class.bases.iter().filter(|base| !EMPTY_BASES.contains(&base.as_str())) {
            let own = Place { module: module.name.clone(), name: base.clone() };
            let found = if steps < MOST_STEPS && self.classes < MOST_CLASSES { self.find(&own, 0) } else { None };
            match found {
                Some((module, Definition::Class(class))) => self.take(&module, &class, steps + 1),
                _ => self.note(format!("it derives from {base}, whose methods are not known without running it")),
            }
        }
    }

    fn note_errors(&mut self, module: &Module) {
        if module.has_errors() {
            self.note(format!("{} has errors of syntax, and was read as far as it could be", module.path.display()));
        }
    }

    fn note(&mut self, note: String) {
        if !self.outline.notes.contains(&note) {
            self.outline.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests;
