//! Makes a manifest for a plugin that has no manifest file: a component, in a file or in memory, or a Python class or function.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::file::ManifestFile;
use super::forms::Forms;
use super::plugin::Manifest;
use super::python::PythonKind;
use super::runtime::{Component, Runtime, WasmPlugin};
use crate::PluginError;

/// The longest name of a plugin, in characters.
const LONGEST_NAME: usize = 64;

impl Manifest {
    /// A manifest for a component's file. The plugin has the file's name, with its extension (`redact.wasm`), so that it is not confused
    /// with a plugin that has a manifest. It gets no permissions and the default limits. No file is opened.
    ///
    /// # Errors
    /// `invalid-input` if no plugin name can be made from the file's name.
    pub fn of_component(file: &Path) -> Result<Self, PluginError> {
        let mut manifest = bare(file, &json!({"component": "x.wasm"}))?;
        manifest.runtime = Runtime::wasm(WasmPlugin::of_file(&manifest.path));
        Ok(manifest)
    }

    /// A manifest for a component in memory, with this name. Otherwise like [`of_component`](Self::of_component).
    ///
    /// # Errors
    /// `invalid-manifest` if this cannot be a plugin's name.
    pub fn of_component_bytes(name: &str, bytes: impl Into<Arc<[u8]>>) -> Result<Self, PluginError> {
        let whole = json!({"name": name, "version": "0", "component": "x.wasm"});
        let mut manifest = Self::parse(&whole.to_string(), Path::new(name))?;
        (manifest.runtime, manifest.path) =
            (Runtime::wasm(WasmPlugin::of(Component::Bytes(bytes.into()))), PathBuf::new());
        manifest.is_bare = true;
        Ok(manifest)
    }

    /// A manifest for a class or a function in a Python file. The plugin has the file's name, can import modules from the file's directory,
    /// runs with `python3` as `python3 FILE` would, and is trusted. No file is opened.
    ///
    /// # Errors
    /// `invalid-input` if Python cannot import a module from a file with this name, or `object` is not the name of an object.
    pub fn of_python(file: &Path, object: &str) -> Result<Self, PluginError> {
        let module = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if module.is_empty() || !module.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!("Python cannot import a module from {}", file.display());
            return Err(
                PluginError::invalid_input(message).with_help("use only letters, digits and `_` in the file's name")
            );
        }
        let mut manifest = bare(file, &object_keys(module, object))?;
        let beside = manifest.path.parent().map(Path::to_owned);
        if let Some(python) = manifest.python_mut() {
            python.source = beside;
        }
        Ok(manifest)
    }

    /// A manifest for a class or a function in a module that `python3` finds, written as `package.module:OBJECT`. The plugin's name is
    /// that text with `.` for `:`. It is trusted.
    ///
    /// # Errors
    /// `invalid-input` if the text does not have that form.
    pub fn of_python_module(text: &str) -> Result<Self, PluginError> {
        let (module, object) = text.split_once(':').unwrap_or((text, ""));
        let mut manifest = bare(Path::new(&text.replace(':', ".")), &object_keys(module, object))?;
        manifest.path = PathBuf::new();
        Ok(manifest)
    }

    /// Whether a text has the form `package.module:OBJECT`.
    #[must_use]
    pub fn is_python_module(text: &str) -> bool {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let are_names = |names: &str| names.split('.').all(is_name);
        text.split_once(':').is_some_and(|(module, object)| are_names(module) && are_names(object))
    }

    /// The manifest for a path: one made for a component (`FILE.wasm`) or for a class or a function (`FILE.py:OBJECT`,
    /// `package.module:OBJECT`), or else the one in the file.
    ///
    /// # Errors
    /// Those of [`ManifestFile::read`], [`of_component`](Self::of_component) and [`of_python`](Self::of_python); `not-found` if
    /// there is no such Python file.
    pub fn of_file(file: &Path, forms: &Forms) -> Result<Self, PluginError> {
        if has_extension(file, "wasm") {
            return Self::of_component(file);
        }
        let text = file.to_string_lossy();
        let (python, object) = text.rsplit_once(':').unwrap_or((&text, ""));
        let python = Path::new(python);
        if !has_extension(python, "py") {
            return if Self::is_python_module(&text) && !file.exists() {
                Self::of_python_module(&text)
            } else {
                ManifestFile::read(file, forms)?.into_plugin(file)
            };
        }
        if !python.is_file() {
            return Err(PluginError::not_found(format!("there is no file {}", python.display())));
        }
        if object.is_empty() {
            let message = format!("{} may have several classes and functions", python.display());
            let help = format!("name the class or function: {}:NAME", python.display());
            return Err(PluginError::invalid_input(message).with_help(help));
        }
        Self::of_python(python, object)
    }

    /// Whether the plugin has no manifest file, and this manifest was made by [`of_component`](Self::of_component),
    /// [`of_component_bytes`](Self::of_component_bytes), [`of_python`](Self::of_python) or
    /// [`of_python_module`](Self::of_python_module).
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }
}

/// The manifest keys that name an object of a module. A name with dots can only be a function's.
fn object_keys(module: &str, object: &str) -> Value {
    if object.contains('.') {
        return json!({"function": format!("{module}:{object}")});
    }
    json!({"module": module, "class": object})
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// A manifest with these keys, whose file is the plugin's own.
fn bare(file: &Path, keys: &Value) -> Result<Manifest, PluginError> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    // All of it is ASCII. The end is kept, because it has the file's extension.
    let name = name.get(name.len().saturating_sub(LONGEST_NAME)..).unwrap_or(name);
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let mut whole = json!({"name": name, "version": "0"});
    if let (Some(whole), Some(keys)) = (whole.as_object_mut(), keys.as_object()) {
        whole.extend(keys.clone());
    }
    let mut manifest = Manifest::parse(&whole.to_string(), file).map_err(|error| {
        let why = error.problems().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ");
        PluginError::invalid_input(format!("{} cannot be run without a manifest: {why}", file.display()))
    })?;
    manifest.is_bare = true;
    // The name does not tell whether the object is a class.
    if let Some(python) = manifest.python_mut()
        && python.object.kind == PythonKind::Class
    {
        python.object.kind = PythonKind::Either;
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use crate::manifest::PythonObject;

    fn object(module: &str, name: &str, kind: PythonKind) -> PythonObject {
        PythonObject { module: module.to_owned(), name: name.to_owned(), kind }
    }

    #[test]
    fn a_file_without_a_manifest_is_named_as_it_is_and_gets_nothing() {
        let component = Manifest::of_component(Path::new("/x/my redact.wasm")).unwrap();
        assert_eq!((component.name.as_str(), &component.permissions), ("my-redact.wasm", &None));
        assert_eq!(component.wasm().unwrap().component.file(), Some(Path::new("/x/my redact.wasm")));
        let class = Manifest::of_python(Path::new("/x/words.py"), "Words").unwrap();
        let python = class.python().unwrap();
        assert_eq!(python.object, object("words", "Words", PythonKind::Either));
        assert_eq!((class.name.as_str(), python.source.as_deref()), ("words.py", Some(Path::new("/x"))));
        let long = Manifest::of_component(Path::new(&format!("/{}.wasm", "aé".repeat(80)))).unwrap();
        assert!(long.name.len() <= LONGEST_NAME && long.name.ends_with(".wasm"), "{}", long.name);
        assert!(component.is_bare() && class.is_bare());
        let inner = Manifest::of_python(Path::new("/x/words.py"), "Words.of").unwrap();
        assert_eq!(inner.python().unwrap().object, object("words", "Words.of", PythonKind::Function));
        assert!(component.python().is_none());
    }

    #[test]
    fn a_module_that_python_finds_is_named_as_one() {
        let manifest = Manifest::of_file(Path::new("langdetect.detector:detect"), Forms::plain()).unwrap();
        let python = manifest.python().unwrap();
        assert_eq!((manifest.name.as_str(), python.source.as_deref()), ("langdetect.detector.detect", None));
        assert_eq!(python.object, object("langdetect.detector", "detect", PythonKind::Either));
        assert_eq!(manifest.path, PathBuf::new());
        for other in ["langdetect", "langdetect:", ":detect", "a b:c", "a/b:c", "a:b:c", "C:1", "a..b:c"] {
            assert!(!Manifest::is_python_module(other), "{other}");
        }
    }

    #[test]
    fn a_component_in_memory_has_no_file() {
        let manifest = Manifest::of_component_bytes("in-memory", *b"\0asm").unwrap();
        assert_eq!(manifest.name, "in-memory");
        assert_eq!(manifest.path, Path::new(""));
        assert_eq!(manifest.wasm().unwrap().component, Component::Bytes(b"\0asm".as_slice().into()));
        let error = Manifest::of_component_bytes("no name", *b"").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidManifest, "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_named_or_imported_is_refused() {
        for (file, name) in [("my-words.py", "Words"), ("words.py", "not a class"), ("/", "X")] {
            let error = Manifest::of_python(Path::new(file), name).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{error}");
        }
        assert!(Manifest::of_component(Path::new("/")).is_err());
    }

    #[test]
    fn a_path_selects_the_kind_of_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("words.py"), "class Words: pass\n").unwrap();
        std::fs::write(path("words.json"), r#"{"name": "w", "version": "1", "module": "words", "class": "Words"}"#)
            .unwrap();
        let named = |name: &str| Manifest::of_file(&path(name), Forms::plain());
        assert_eq!(named("words.py:Words").unwrap().name, "words.py");
        assert_eq!(
            (named("words.json").unwrap().name.as_str(), named("x.WASM").unwrap().name.as_str()),
            ("w", "x.WASM")
        );
        assert!(!named("words.json").unwrap().is_bare());
        assert!(named("words.py").unwrap_err().to_string().contains("words.py:NAME"));
        for missing in ["none.py:Words", "none.json"] {
            assert_eq!(named(missing).unwrap_err().code(), ErrorCode::NotFound, "{missing}");
        }
    }
}
