//! Finds a plugin's modules, as far as that is possible without asking an interpreter.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bivium_interface::nearest;
use rustix::fs::OFlags;

use super::absent::did_you_mean;
use super::source::Module;

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
}

impl Files {
    pub(super) fn of(manifest: &PythonManifest) -> Self {
        let mut roots: Vec<PathBuf> = manifest.python.source.iter().cloned().collect();
        let environment = manifest.python.python_path.as_deref().and_then(Path::parent).and_then(Path::parent);
        for lib in environment.into_iter().flat_map(|environment| ["lib", "lib64"].map(|lib| environment.join(lib))) {
            let versions = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
            let is_python = |path: &PathBuf| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3"))
            };
            let mut versions: Vec<PathBuf> = versions.filter(is_python).collect();
            versions.sort();
            let packages =
                versions.iter().flat_map(|path| ["site-packages", "dist-packages"].map(|name| path.join(name)));
            roots.extend(packages.filter(|path| path.is_dir()));
        }
        Self { roots }
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
        module.ends_with(FILE) || !has_others && source.is_some_and(|source| !may_have(source, module))
    }

    /// Why a module is not found.
    pub(super) fn missing(&self, module: &str, manifest: &PythonManifest) -> String {
        if let Some(name) = module.strip_suffix(FILE) {
            return format!("{module} is the name of a file: write the name of the module, `{name}`");
        }
        let places: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        match (places.as_slice(), &manifest.python.requirements) {
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
