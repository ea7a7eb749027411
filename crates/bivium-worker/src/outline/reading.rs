//! [`Reading`]: finds classes, functions and what they inherit in the sources of one plugin.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::files::Files;
use super::shown::Outline;
use super::source::{Class, Definition, Function, Module, ObjectPath};

/// How many imports and base classes are followed in a row.
const MOST_STEPS: usize = 8;
/// How many base classes of one class are read.
const MOST_CLASSES: usize = 32;
/// How many names are looked up, which limits the time.
const MOST_LOOKUPS: usize = 5000;
const TIME: Duration = Duration::from_secs(4);
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

/// The definition of a name, and the module that contains it.
pub(super) type Found = Option<(Rc<Module>, Definition)>;

/// Finds the definitions of one plugin, within limits, and collects what is told of it.
pub(super) struct Reading {
    pub(super) files: Files,
    modules: HashMap<Vec<String>, Option<Rc<Module>>>,
    pub(super) outline: Outline,
    lookups: usize,
    end: Instant,
    /// Whether the class has an `execute_stream`.
    pub(super) streams: bool,
    /// Whether the class has a method `execute`.
    pub(super) runs: bool,
}

impl Reading {
    pub(super) fn new(files: Files) -> Self {
        let (outline, modules) = (Outline::default(), HashMap::new());
        Self { files, modules, outline, lookups: 0, end: Instant::now() + TIME, streams: false, runs: false }
    }

    /// The class or function with this name; follows imports.
    pub(super) fn find(&mut self, place: &ObjectPath) -> Found {
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

    pub(super) fn module(&mut self, name: &[String]) -> Option<Rc<Module>> {
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
    pub(super) fn begin(&mut self, module: &Module) {
        self.outline.file = Some(module.path.clone());
        self.note_errors(module);
    }

    /// A class and its base classes, the nearest first, as far as their sources are found. The names of others are added to
    /// `missing`.
    pub(super) fn lineage(
        &mut self,
        module: &Rc<Module>,
        class: &Class,
        missing: &mut Vec<String>,
    ) -> Vec<(Rc<Module>, Class)> {
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
    pub(super) fn methods(&mut self, module: &Rc<Module>, class: &Class) -> BTreeMap<String, (Rc<Module>, Function)> {
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
