//! Finds a plugin's modules, as far as that is possible without asking an interpreter.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bivium_interface::nearest;
use rustix::fs::OFlags;

use super::source::Module;

use crate::cures::beside;
use crate::environment::packages::{environment_of, site_packages};
use crate::manifest::PythonManifest;

/// The longest module that is read; modules that people write are shorter.
const LONGEST: u64 = 4 << 20;
/// The extension of modules' files.
const FILE: &str = ".py";
/// How many entries of one directory are read.
const MOST_ENTRIES: usize = 10_000;

/// The directories in which modules are searched.
pub(super) struct Files {
    roots: Vec<PathBuf>,
    /// Whether the environment for the requirements is among them.
    is_made: bool,
}

impl Files {
    /// `made` is the environment that was made for the plugin's requirements, if there is one.
    pub(super) fn of(manifest: &PythonManifest, made: Option<&Path>) -> Self {
        let mut roots: Vec<PathBuf> = manifest.python.source.iter().cloned().collect();
        let own = manifest.python.python_path.as_deref().and_then(environment_of);
        roots.extend(own.into_iter().chain(made).flat_map(site_packages));
        Self { roots, is_made: made.is_some() }
    }

    fn file(&self, module: &[String]) -> Option<PathBuf> {
        self.roots.iter().find_map(|root| {
            let path: PathBuf = module.iter().fold(root.clone(), |path, name| path.join(name));
            let package = path.join("__init__.py");
            let plain = path.with_extension("py");
            [package, plain].into_iter().find(|file| file.is_file())
        })
    }

    pub(super) fn found(&self, module: &[String]) -> bool {
        self.file(module).is_some()
    }

    /// A module; None if it does not exist, a sentence if it cannot be read.
    pub(super) fn read(&self, module: &[String]) -> Option<Result<Module, String>> {
        let path = self.file(module)?;
        Some(match text(&path) {
            Ok(text) => Module::parse(module.to_vec(), path, text),
            Err(why) => Err(format!("{} cannot be read: {why}", path.display())),
        })
    }

    /// The module in one of the directories whose name is most similar.
    fn nearest(&self, module: &str) -> Option<String> {
        let names: Vec<String> = self.roots.iter().flat_map(|root| modules(root)).collect();
        nearest(module, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Whether Python cannot find a module, because only `source` could contain it and does not.
    pub(super) fn lacks(&self, module: &str, manifest: &PythonManifest) -> bool {
        let has_others = manifest.python.python_path.is_some() || manifest.python.requirements.is_some();
        let source = manifest.python.source.as_deref().filter(|source| source.is_dir());
        let is_elsewhere = || match source {
            Some(source) => !may_have(source, module),
            None => beside(manifest, module).is_some(),
        };
        module.ends_with(FILE) || !has_others && is_elsewhere()
    }

    /// Why a module is not found.
    pub(super) fn missing(&self, module: &str, manifest: &PythonManifest) -> String {
        if let Some(name) = module.strip_suffix(FILE) {
            return format!("{module} is the name of a file: write the name of the module, `{name}`");
        }
        if let Some(beside) = beside(manifest, module) {
            return format!("{} lies beside the manifest: add `\"source\": \".\"` to it", beside.display());
        }
        let places: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        match (places.as_slice(), &manifest.python.requirements) {
            (_, Some(_)) if self.is_made && self.roots.iter().any(|root| may_have(root, module)) => {
                format!(
                    "the module {module} in {} has no Python source file, so its contents are not known",
                    places.join(" or ")
                )
            }
            (places, Some(_)) if self.is_made => format!("the module {module} is not in {}", places.join(" or ")),
            (_, Some(_)) => {
                format!(
                    "the module {module} is not in `source`: it may come with the requirements, which are installed at the first load"
                )
            }
            ([], None) => format!(
                "the module {module} may be anywhere on the interpreter's path: the manifest has no `source` to say where"
            ),
            (places, None) => {
                let meant = did_you_mean(self.nearest(module).as_deref());
                format!("the module {module} is not in {}{meant}", places.join(" or "))
            }
        }
    }
}

/// Whether Python could find the module there: as a file, as a package, or compiled.
fn may_have(source: &Path, module: &str) -> bool {
    let (packages, last) = module.rsplit_once('.').unwrap_or(("", module));
    let place = packages.split('.').fold(source.to_owned(), |path, name| path.join(name));
    let names =
        fs::read_dir(place).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .take(MOST_ENTRIES)
        .any(|name| name.strip_prefix(last).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// The names of the modules and packages in a directory.
fn modules(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(MOST_ENTRIES);
    let module = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        match name.strip_suffix(FILE) {
            Some(module) => Some(module.to_owned()),
            None => entry.path().join("__init__.py").is_file().then_some(name),
        }
    };
    entries.filter_map(module).collect()
}

fn text(path: &Path) -> Result<String, String> {
    let mut options = OpenOptions::new();
    // Non-blocking, so that opening does not wait if the file was replaced by a pipe.
    let options = options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    let file = options.open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("it is longer than {} MiB", LONGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// "; did you mean `name`?", if there is a similar name.
pub(super) fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
