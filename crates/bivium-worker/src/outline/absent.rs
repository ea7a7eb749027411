//! Messages for a module, class or function that the manifest names and that does not exist, with a suggestion.

use bivium_interface::manifest::PythonKind;
use bivium_interface::nearest;

use super::files::did_you_mean;
use super::reading::Reading;
use super::source::{Definition, ObjectPath};

use crate::manifest::PythonManifest;

/// How many `from MODULE import *` are followed for a name.
const MOST_MODULES: usize = 8;

impl Reading {
    /// The message for an object that is not found in an existing module. `name` is the object's name, which may have dots.
    pub(super) fn absent(&mut self, place: &ObjectPath, name: &str, kind: PythonKind) -> String {
        let module = place.module.join(".");
        let (key, what) = match kind {
            PythonKind::Class => ("class", "class"),
            PythonKind::Function => ("function", "function"),
            PythonKind::Either => ("", "class or function"),
        };
        let told = match (self.find(place), kind) {
            (Some((_, Definition::Function(_))), PythonKind::Class) => Some(format!(
                "{name} in the module {module} is a function: write `\"function\": \"{module}:{name}\"` in place of `module` and `class`"
            )),
            (Some((_, Definition::Class(_))), PythonKind::Function) if !name.contains('.') => Some(format!(
                "{name} in the module {module} is a class: write `\"module\": \"{module}\", \"class\": \"{name}\"` in place of `function`"
            )),
            (None, _) if !self.may_have(&place.module, &place.name, 0) => {
                Some(format!("the module {module} has no {what} {}{}", place.name, self.meant(place, kind)))
            }
            _ => None,
        };
        if let Some(told) = told {
            self.outline.absent = Some(if key.is_empty() { told.clone() } else { format!("{key}: {told}") });
            return told;
        }
        format!("no {what} {name} is defined in the module {module}, as far as can be seen without running it")
    }

    /// Whether the module may have the name in a way that cannot be seen in its source.
    fn may_have(&mut self, module: &[String], name: &str, depth: usize) -> bool {
        let Some(module) = self.module(module).filter(|_| depth < MOST_MODULES) else { return true };
        module.has_errors()
            || module.mentions(name)
            || module.stars().iter().any(|star| *star != module.name && self.may_have(star, name, depth + 1))
    }

    /// "; did you mean `Name`?", if the module has a similar name.
    fn meant(&mut self, place: &ObjectPath, kind: PythonKind) -> String {
        let names = self.module(&place.module).map(|module| module.names(kind)).unwrap_or_default();
        did_you_mean(nearest(&place.name, names.iter().map(String::as_str)))
    }

    /// The message for a module that is not found.
    pub(super) fn absent_module(&mut self, module: &str, manifest: &PythonManifest) -> String {
        let told = self.files.missing(module, manifest);
        let key = if manifest.python.object.kind == PythonKind::Function { "function" } else { "module" };
        self.outline.absent = self.files.lacks(module, manifest).then(|| format!("{key}: {told}"));
        told
    }
}
