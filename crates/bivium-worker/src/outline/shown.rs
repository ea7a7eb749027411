//! [`Outline`]: what the source of a Python plugin shows.

use std::path::PathBuf;

use bivium_interface::{MethodInfo, PluginError};
use serde::Serialize;

use crate::manifest::PythonManifest;

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
