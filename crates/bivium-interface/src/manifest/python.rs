//! [`PythonObject`]: which object of a module is the plugin.

use super::Manifest;

/// The object of a Python module that is the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PythonObject<'a> {
    /// The module that is imported.
    pub module: &'a str,
    /// The object's name in it; of a function it may have dots (`Class.method`).
    pub name: &'a str,
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

impl Manifest {
    /// The object of a Python module that is the plugin; none of a component.
    #[must_use]
    pub fn python_object(&self) -> Option<PythonObject<'_>> {
        if let Some((module, name)) = self.function.as_ref().and_then(|function| function.split_once(':')) {
            return Some(PythonObject { module, name, kind: PythonKind::Function });
        }
        let kind = if self.is_bare { PythonKind::Either } else { PythonKind::Class };
        Some(PythonObject { module: self.module.as_deref()?, name: self.class.as_deref()?, kind })
    }
}
