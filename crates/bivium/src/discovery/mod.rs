//! Finding manifests: which plugins there are, and which files are not what they should be.

mod foreign;
mod named;
mod trust;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::manifest::{ManifestFile, OtherFile};
use bivium_interface::{ErrorCode, Manifest, PluginError, Result};

pub use foreign::FileKind;
pub(crate) use named::absolute;
use named::entries;
use trust::{Distrust, Trust};

use crate::extensions::forms;

/// As many entries of a directory are looked at for manifests of another name.
const MOST_ENTRIES: usize = 1000;

/// A place to look for manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath {
    /// A directory, or one manifest.
    pub path: PathBuf,
    /// Whether somebody has named it on purpose. What a search merely finds is read only where nobody but this user and
    /// root can have put it, as is what it names: see `docs/discovery.md`.
    pub is_named: bool,
}

impl SearchPath {
    /// A place that somebody has named, and so trusts.
    pub fn named(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_named: true }
    }

    fn searched(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_named: false }
    }
}

/// What a look at the search paths found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Discovery {
    /// The manifests by plugin name; where several have one name, the one of the earliest path.
    pub found: BTreeMap<String, Arc<Manifest>>,
    /// Manifests whose name an earlier path has already.
    pub shadowed: Vec<Shadowed>,
    /// Files that declare no plugin and belong to some: with the feature `cjm`, adapters of cjm-plugin-system. Of several for one name
    /// the first. The manifests of the plugins have what fits them.
    pub others: Vec<OtherFile>,
    /// Files that are no valid manifest, and why; manifests of one directory that declare plugins of one name, none of which is
    /// taken; files and directories that were not read (`denied`), and why.
    pub problems: Vec<(PathBuf, PluginError)>,
    /// Files among the manifests that are evidently something else, and what.
    pub passed_over: Vec<(PathBuf, FileKind)>,
}

/// A manifest that is passed over, since a nearer one declares a plugin of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shadowed {
    /// The plugin's name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The file that is taken in its place.
    pub by: PathBuf,
}

/// Where manifests are looked for unless a host says otherwise: `./.bivium/manifests`, then
/// `~/.bivium/manifests`.
#[must_use]
pub fn default_search_paths() -> Vec<SearchPath> {
    let mut paths = vec![SearchPath::searched(".bivium/manifests")];
    if let Some(dirs) = directories::BaseDirs::new() {
        paths.push(SearchPath::searched(dirs.home_dir().join(".bivium/manifests")));
    }
    paths
}

/// Reads the manifests in the search paths, nearest first. A path is a directory (its `*.json`, and those of its
/// immediate subdirectories that are named after the directory, `redact/redact.json`) or one manifest, with what
/// belongs to it beside it. A path that is not there is empty.
///
/// Blocks on the file system.
#[must_use]
pub fn discover(search_paths: &[SearchPath]) -> Discovery {
    let mut discovery = Discovery::default();
    let mut found: BTreeMap<String, Manifest> = BTreeMap::new();
    // Nor does a farther path stand in for them: it would be another plugin than the one that is meant.
    let mut unclear: BTreeSet<String> = BTreeSet::new();
    for place in search_paths {
        let files =
            if place.is_named { named_files(&place.path, &mut discovery) } else { discovery.search(&place.path) };
        let mut own: BTreeMap<String, Vec<Manifest>> = BTreeMap::new();
        for (path, read) in files {
            match read {
                Ok(ManifestFile::Plugin(manifest)) => own.entry(manifest.name.clone()).or_default().push(*manifest),
                Ok(ManifestFile::Other(other)) => discovery.add_other(other),
                Err(error) => match foreign::kind(&path, &error) {
                    Some(kind) => discovery.passed_over.push((path, kind)),
                    None => discovery.problems.push((path, error)),
                },
            }
        }
        for (name, manifests) in own {
            if unclear.contains(&name) {
                continue;
            }
            let Some(manifest) = discovery.only_one(manifests) else {
                if !found.contains_key(&name) {
                    unclear.insert(name);
                }
                continue;
            };
            match found.entry(name) {
                Entry::Occupied(taken) => {
                    let by = taken.get().path.clone();
                    // The same one, found twice, shadows nothing.
                    if by != manifest.path {
                        discovery.shadowed.push(Shadowed { name: manifest.name, path: manifest.path, by });
                    }
                }
                Entry::Vacant(place) => {
                    place.insert(manifest);
                }
            }
        }
        discovery.passed_over.extend(misnamed(place).into_iter().map(|file| (file, FileKind::Misnamed)));
        for file in others_beside(place) {
            if let Ok(ManifestFile::Other(other)) = ManifestFile::read(&file, forms()) {
                discovery.add_other(other);
            }
        }
    }
    discovery.found =
        found.into_iter().map(|(name, manifest)| (name, Arc::new(discovery.completed(manifest)))).collect();
    discovery
}

/// A file, and what it declares.
type Read = (PathBuf, Result<ManifestFile>);

fn named_files(path: &Path, discovery: &mut Discovery) -> Vec<Read> {
    let read = |file: PathBuf| {
        let read = ManifestFile::read(&file, forms());
        (file, read)
    };
    candidates(path, discovery).into_iter().map(read).collect()
}

/// Reads a manifest that a search has found, unless a stranger could have written it or what it names.
fn read_searched(trust: &Trust, path: &Path) -> Result<ManifestFile> {
    let distrusted = |refusal: Distrust| match refusal {
        Distrust::Missing => PluginError::not_found(format!("there is no manifest {}", path.display())),
        refusal => refusal.error(path),
    };
    let seen = trust.look(path).map_err(distrusted)?;
    let file = ManifestFile::read_open(seen.open().map_err(distrusted)?, path, forms())?;
    if let ManifestFile::Plugin(manifest) = &file {
        trust.check_named(manifest).map_err(distrusted)?;
    }
    Ok(file)
}

impl Discovery {
    /// The manifests of a directory that nobody has named.
    fn search(&mut self, directory: &Path) -> Vec<Read> {
        let trust = Trust::own();
        let listed = trust.look(directory).and_then(|seen| Ok((entries(&seen)?, seen)));
        let (names, directory) = match listed {
            Ok((names, _)) => (names, directory),
            Err(Distrust::Missing) => return Vec::new(),
            Err(refusal) => {
                self.problems.push((directory.to_owned(), refusal.error(directory)));
                return Vec::new();
            }
        };
        let files = self.manifests(names.iter().map(|name| directory.join(name)));
        let read = |file: PathBuf| {
            let read = read_searched(&trust, &file);
            (file, read)
        };
        files.into_iter().map(read).collect()
    }

    /// The files that should be manifests, in the order of their names.
    fn manifests(&mut self, entries: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
        let (hidden, mut files): (Vec<_>, Vec<_>) =
            entries.filter_map(|entry| manifest_of(&entry)).partition(|file| foreign::is_hidden(file));
        self.passed_over.extend(hidden.into_iter().map(|file| (file, foreign::HIDDEN)));
        files.sort();
        files
    }

    /// The one manifest of its name in a directory. Which of several is meant cannot be told, so that none is taken.
    fn only_one(&mut self, mut manifests: Vec<Manifest>) -> Option<Manifest> {
        // Links to one file are one manifest.
        let mut files = BTreeSet::new();
        manifests
            .retain(|manifest| files.insert(manifest.path.canonicalize().unwrap_or_else(|_| manifest.path.clone())));
        if manifests.len() < 2 {
            return manifests.pop();
        }
        // The file that a search for the name finds first.
        let is_named = |manifest: &&Manifest| manifest.path.file_stem().is_some_and(|stem| stem == &*manifest.name);
        if let Some(first) = manifests.iter().find(is_named).or(manifests.first()) {
            let others = manifests.iter().filter(|other| other.path != first.path);
            let others: Vec<String> = others.map(|other| other.path.display().to_string()).collect();
            let (file, others) = (first.path.display(), others.join(" and "));
            let what = format!("{file} declares a plugin {:?}, and so does {others}", first.name);
            let error =
                PluginError::invalid_manifest(what).with_plugin(&first.name).with_help("rename or remove all but one");
            self.problems.push((first.path.clone(), error));
        }
        None
    }

    /// The files among the manifests that are pipelines, or should be.
    pub fn pipelines(&self) -> impl Iterator<Item = &Path> {
        let pipelines = self.passed_over.iter().filter(|(_, kind)| *kind == FileKind::Pipeline);
        pipelines.map(|(path, _)| path.as_path())
    }

    /// What was not read since a stranger could have written it, and why.
    pub fn distrusted(&self) -> impl Iterator<Item = &(PathBuf, PluginError)> {
        self.problems.iter().filter(|(_, error)| error.code() == ErrorCode::Denied)
    }
}

impl Discovery {
    fn add_other(&mut self, other: OtherFile) {
        if !self.others.iter().any(|known| (known.kind, &known.name) == (other.kind, &other.name)) {
            self.others.push(other);
        }
    }

    /// The manifest with what was found that belongs to it.
    fn completed(&self, mut manifest: Manifest) -> Manifest {
        forms().complete(&mut manifest, &self.others);
        manifest
    }
}

/// The files beside a manifest that is a search path by itself whose names say that they may belong to it.
fn others_beside(place: &SearchPath) -> Vec<PathBuf> {
    let path = &place.path;
    let beside =
        path.parent().filter(|_| place.is_named && path.is_file()).and_then(|parent| std::fs::read_dir(parent).ok());
    let entries = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| is_other(path)).collect();
    files.sort();
    files
}

fn is_other(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| forms().is_beside(name))
}

/// The files of one search path that should be manifests, in the order of their names.
fn candidates(path: &Path, discovery: &mut Discovery) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let what = format!("cannot read the manifest directory {}: {error}", path.display());
            discovery.problems.push((path.to_owned(), PluginError::denied(what)));
            return Vec::new();
        }
    };
    discovery.manifests(entries.flatten().map(|entry| entry.path()))
}

fn manifest_of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        let own = path.join(format!("{}.json", path.file_name()?.to_str()?));
        return own.is_file().then_some(own);
    }
    path.extension().is_some_and(|extension| extension == "json").then(|| path.to_owned())
}

/// The manifests in subdirectories that have none of their own name. What a stranger could have written is not looked into.
fn misnamed(place: &SearchPath) -> Vec<PathBuf> {
    let trust = (!place.is_named).then(Trust::own);
    let is_trusted = |path: &PathBuf| trust.as_ref().is_none_or(|trust| trust.look(path).is_ok());
    let directories = listed(&place.path).into_iter().filter(|path| path.is_dir() && manifest_of(path).is_none());
    let files = directories.filter(|path| !foreign::is_hidden(path) && is_trusted(path)).flat_map(|path| listed(&path));
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json") && is_trusted(file));
    files.filter(|file| foreign::declares(file)).collect()
}

/// What lies in a directory, in order; of a very large one, which is nobody's list of plugins, a part.
fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(MOST_ENTRIES);
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// Reads one manifest that must be a plugin's, with what belongs to it beside it and in `search_paths`. One that lies where
/// nobody has named anything is held to what a search is held to.
///
/// # Errors
/// Those of [`ManifestFile::read`]; `denied` if a stranger could have written it.
pub(crate) fn read_completed(path: &Path, search_paths: &[SearchPath]) -> Result<Manifest> {
    let within = |place: &&SearchPath| path.starts_with(absolute(&place.path));
    let is_searched = search_paths.iter().find(within).is_some_and(|place| !place.is_named);
    let file = if is_searched { read_searched(&Trust::own(), path)? } else { ManifestFile::read(path, forms())? };
    let manifest = file.into_plugin(path)?;
    if manifest.extensions.is_empty() {
        return Ok(manifest);
    }
    let own = (!is_searched).then(|| SearchPath::named(path));
    let paths: Vec<SearchPath> = own.into_iter().chain(search_paths.iter().cloned()).collect();
    Ok(discover(&paths).completed(manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path, file: &str, name: &str, version: &str) {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!(r#"{{"name": "{name}", "version": "{version}", "component": "x.wasm"}}"#);
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_nearer_shadows_the_farther_and_bad_files_are_reported() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        manifest(near.path(), "a.json", "a", "2");
        manifest(far.path(), "a.json", "a", "1");
        manifest(far.path(), "b-1.0/b-1.0.json", "b", "1");
        manifest(far.path(), "c/other.json", "c", "1");
        std::fs::write(far.path().join("broken.json"), "{").unwrap();
        std::fs::write(far.path().join("notes.txt"), "no manifest").unwrap();
        let paths = [near.path().to_owned(), far.path().to_owned(), near.path().join("missing")].map(SearchPath::named);

        let discovery = discover(&paths);
        let names: Vec<_> = discovery.found.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(discovery.found["a"].version, "2");
        let [shadowed] = discovery.shadowed.as_slice() else { panic!("{:?}", discovery.shadowed) };
        assert_eq!((&shadowed.path, &shadowed.by), (&far.path().join("a.json"), &near.path().join("a.json")));
        assert_eq!(discovery.problems.len(), 1);
        assert!(discovery.problems[0].0.ends_with("broken.json"));
    }

    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn of_two_manifests_of_one_name_in_a_directory_none_is_taken() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        manifest(near.path(), "a.json", "a", "1");
        manifest(near.path(), "a-2/a-2.json", "a", "2");
        manifest(near.path(), "b.json", "b", "1");
        std::os::unix::fs::symlink("b.json", near.path().join("same.json")).unwrap();
        manifest(far.path(), "a.json", "a", "3");
        for (paths, is_found) in [([near.path(), far.path()], false), ([far.path(), near.path()], true)] {
            let discovery = discover(&paths.map(SearchPath::named));
            assert_eq!((discovery.found.contains_key("a"), discovery.found.contains_key("b")), (is_found, true));
            let told: Vec<String> = discovery.problems.iter().map(|(_, error)| error.to_string()).collect();
            assert_eq!(told.len(), 1, "{told:?}");
            let both = ["a.json", "a-2/a-2.json"].map(|file| near.path().join(file).display().to_string());
            assert!(told.iter().all(|told| both.iter().all(|path| told.contains(path))), "{told:?}");
        }
    }

    #[test]
    fn what_is_evidently_no_manifest_is_passed_over_without_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        manifest(dir.path(), "a.json", "a", "1");
        std::fs::write(dir.path().join("._a.json"), b"\0\x05\x16\x07").unwrap();
        std::fs::write(dir.path().join("package.json"), r#"{"name": "p", "version": "1"}"#).unwrap();
        std::fs::write(dir.path().join("steps.json"), r#"{"name": "p", "steps": []}"#).unwrap();
        for place in [SearchPath::named(dir.path()), SearchPath::searched(dir.path())] {
            let discovery = discover(&[place]);
            assert!(discovery.problems.is_empty() && discovery.found.len() == 1, "{discovery:?}");
            let kinds: Vec<FileKind> = discovery.passed_over.iter().map(|(_, kind)| *kind).collect();
            assert_eq!(kinds, [foreign::HIDDEN, FileKind::Other("a file of another program"), FileKind::Pipeline]);
            assert_eq!(discovery.pipelines().collect::<Vec<_>>(), [dir.path().join("steps.json")]);
        }
    }

    #[test]
    fn a_manifest_of_another_name_than_its_directorys_is_passed_over_and_told() {
        let dir = tempfile::tempdir().unwrap();
        manifest(dir.path(), "a/manifets.json", "a", "1");
        manifest(dir.path(), "b/b.json", "b", "1");
        manifest(dir.path(), "b/other.json", "b", "1");
        std::fs::write(dir.path().join("a/data.json"), r#"{"name": "a", "version": "1"}"#).unwrap();
        std::fs::write(dir.path().join("a/package.json"), r#"{"name": "a", "module": "a.js"}"#).unwrap();
        let told = |place| discover(&[place]).passed_over;
        let misnamed = [(dir.path().join("a/manifets.json"), FileKind::Misnamed)];
        assert_eq!(told(SearchPath::named(dir.path())), misnamed);
        assert_eq!(told(SearchPath::searched(dir.path())), misnamed);
        set_mode(&dir.path().join("a/manifets.json"), 0o666);
        assert_eq!(told(SearchPath::named(dir.path())), misnamed);
        assert_eq!(told(SearchPath::searched(dir.path())), [], "what a stranger could have written is not read");
    }

    #[test]
    fn what_a_search_finds_is_looked_at_again_when_it_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        manifest(dir.path(), "a.json", "a", "1");
        let path = dir.path().join("a.json");
        let (searched, named) = ([SearchPath::searched(dir.path())], [SearchPath::named(dir.path())]);
        assert_eq!(read_completed(&path, &searched).unwrap().name, "a");
        set_mode(&path, 0o666);
        let error = read_completed(&path, &searched).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Denied, "{error}");
        assert!(error.to_string().contains("can be written by everybody"), "{error}");
        assert_eq!(read_completed(&path, &named).unwrap().name, "a");
        assert_eq!(read_completed(&path, &[]).unwrap().name, "a");
    }

    #[test]
    fn a_link_leads_only_where_nobody_else_writes() {
        let (own, open) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let found = |paths: &[SearchPath]| discover(paths).found.into_keys().collect::<Vec<_>>();
        manifest(own.path(), "real/there.json", "there", "1");
        manifest(open.path(), "there.json", "elsewhere", "1");
        std::fs::create_dir(own.path().join("search")).unwrap();
        std::os::unix::fs::symlink("../real/there.json", own.path().join("search/good.json")).unwrap();
        std::os::unix::fs::symlink(open.path().join("there.json"), own.path().join("search/bad.json")).unwrap();
        std::os::unix::fs::symlink("round.json", own.path().join("search/round.json")).unwrap();
        let search = [SearchPath::searched(own.path().join("search"))];
        assert_eq!(found(&search), ["elsewhere", "there"]);
        set_mode(open.path(), 0o777);
        assert_eq!(found(&search), ["there"]);
        let problems = discover(&search).problems;
        let told = problems.iter().map(|(_, error)| error.to_string()).find(|told| told.contains("everybody")).unwrap();
        let shown = open.path().canonicalize().unwrap();
        assert!(told.contains(&format!("{} can be written", shown.display())), "{told}");
        // The same directory through a link.
        std::os::unix::fs::symlink(own.path().join("search"), own.path().join("linked")).unwrap();
        assert_eq!(found(&[SearchPath::searched(own.path().join("linked"))]), ["there"]);
        assert_eq!(found(&[SearchPath::searched(own.path().join("none"))]), [""; 0]);
    }
}
