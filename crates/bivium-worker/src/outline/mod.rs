//! [`outline`]: reads a Python plugin's methods from its source. The source is parsed and never run: no interpreter starts.

mod absent;
mod constructor;
mod docstring;
mod expression;
mod files;
mod imports;
mod node;
mod reading;
mod schema;
mod shown;
mod source;

use std::path::Path;
use std::rc::Rc;

use bivium_interface::manifest::{PythonKind, PythonObject};
use bivium_interface::{Call, MethodInfo};
use serde_json::json;

use constructor::Constructor;
use files::Files;
use node::clipped;
use reading::Reading;
use schema::Schemas;
pub use shown::Outline;
use source::{Definition, Function, Module, ObjectPath};

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
/// How many methods of one plugin are described.
const MOST_METHODS: usize = 1000;
/// The most bytes of JSON for all of them; further methods are only named.
const LONGEST: usize = 512 << 10;

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
            reading.runs = methods.contains_key(Call::EXECUTE);
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

impl Reading {
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
        let has_stream = self.streams && function.name == Call::EXECUTE;
        let streams = function.yields || has_stream;
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
            .with_also_runs(has_stream && self.runs && !function.yields && !comes_in_turn)
    }
}

#[cfg(test)]
mod tests;
