//! Lists the environments that hosts have made, tells which of them are in use, and removes them. No environment is removed that a
//! host uses or makes (`hold`).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bivium_interface::Result;
use serde::Deserialize;

use super::hold::{Unused, last_used};
use super::made::{CONFIG, STAMP};
use crate::disk;

/// An environment that a host has made for `requirements`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeptEnvironment {
    /// Its name: a digest of what it was made from.
    pub key: String,
    /// Its directory.
    pub path: PathBuf,
    /// The requirements that are installed in it, as manifests write them. None if making it was interrupted.
    pub requirements: Option<Vec<String>>,
    /// The interpreter that it was made from.
    pub python: Option<PathBuf>,
    /// The version of Python in it.
    pub python_version: Option<String>,
    /// The program that made it, for example `uv`.
    pub made_with: Option<String>,
    /// Whether it was made from wheels only, for confined plugins.
    pub wheels_only: bool,
    /// Whether a plugin can use it as it is. An unfinished or damaged one is made again.
    pub is_ready: bool,
    /// The size of its files, in bytes.
    pub bytes: u64,
    /// When a plugin last began to use it.
    pub used: Option<SystemTime>,
    /// Whether a host uses it or makes it now.
    pub in_use: bool,
}

#[derive(Deserialize)]
struct Stamp {
    requirements: Vec<String>,
    #[serde(default)]
    python: Option<PathBuf>,
    #[serde(default)]
    wheels_only: bool,
    #[serde(default)]
    made_with: Option<String>,
}

/// The environments in a directory (by default where hosts make them), by their names. Blocks on the file system.
///
/// # Errors
/// `internal` if the directory cannot be read.
pub fn kept_environments(environments: Option<&Path>) -> Result<Vec<KeptEnvironment>> {
    kept_of(environments, |_| true)
}

/// The directory in which environments are kept: the given one, or the user's. It may not be there yet.
///
/// # Errors
/// `internal` for a user without a home directory.
pub fn environments_dir(environments: Option<&Path>) -> Result<PathBuf> {
    super::place(environments)
}

/// The environments that were made for these requirements, with any interpreter. For a plugin that is `confined` only those that were
/// made from wheels only, for others only the others.
///
/// # Errors
/// As for [`kept_environments`].
pub fn environments_for(
    requirements: &[String],
    confined: bool,
    environments: Option<&Path>,
) -> Result<Vec<KeptEnvironment>> {
    let requirements = super::made::sorted(requirements);
    kept_of(environments, |stamp| {
        stamp.is_some_and(|stamp| stamp.wheels_only == confined && stamp.requirements == requirements)
    })
}

/// The environment that was made for these requirements and can be used; the one that was used last, if there are several. Its size
/// is not measured, as it is for [`environments_for`].
pub(crate) fn environment_made(
    requirements: &[String],
    confined: bool,
    environments: Option<&Path>,
) -> Option<PathBuf> {
    let (dir, requirements) = (super::place(environments).ok()?, super::made::sorted(requirements));
    let is_meant = |path: &Path| {
        let stamp = read_stamp(path);
        stamp.is_some_and(|stamp| stamp.wheels_only == confined && stamp.requirements == requirements)
    };
    let all = disk::directories(&dir).ok()?.into_iter();
    let made = all.filter(|(key, path)| is_key(key) && is_meant(path) && super::made::is_ready(path));
    made.max_by_key(|(key, _)| last_used(&dir, key)).map(|(_, path)| path)
}

/// Whether a directory may be an environment, by its name.
fn is_key(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_stamp(environment: &Path) -> Option<Stamp> {
    let text = bivium_interface::read_text(&environment.join(STAMP), 1 << 20).ok()?;
    serde_json::from_str(&text).ok()
}

fn kept_of(environments: Option<&Path>, is_meant: impl Fn(Option<&Stamp>) -> bool) -> Result<Vec<KeptEnvironment>> {
    let dir = super::place(environments)?;
    let mut kept = Vec::new();
    for (key, path) in disk::directories(&dir)? {
        if !is_key(&key) {
            continue;
        }
        let stamp = read_stamp(&path);
        if !is_meant(stamp.as_ref()) {
            continue;
        }
        kept.push(KeptEnvironment {
            in_use: Unused::take(&dir, &key).is_none(),
            bytes: disk::usage(&path).bytes,
            is_ready: super::made::is_ready(&path),
            python: stamp.as_ref().and_then(|stamp| stamp.python.clone()),
            python_version: version(&path),
            made_with: stamp.as_ref().and_then(|stamp| stamp.made_with.clone()),
            wheels_only: stamp.as_ref().is_some_and(|stamp| stamp.wheels_only),
            requirements: stamp.map(|stamp| stamp.requirements),
            used: last_used(&dir, &key),
            key,
            path,
        });
    }
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(kept)
}

/// The version of Python in an environment's `pyvenv.cfg`: `version` if venv made it, `version_info` if uv did.
fn version(environment: &Path) -> Option<String> {
    let text = bivium_interface::read_text(&environment.join(CONFIG), 1 << 16).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut versions = lines.filter(|(key, _)| ["version", "version_info"].contains(&key.trim()));
    versions.next().map(|(_, version)| version.trim().to_owned())
}

/// Removes an environment, unless a host uses it or makes it. Returns whether it is gone. A plugin that needs it later makes it
/// again. Blocks on the file system.
///
/// # Errors
/// `internal` or `denied` if it cannot be removed.
pub fn remove_environment(environment: &KeptEnvironment) -> Result<bool> {
    let Some(dir) = environment.path.parent() else { return Ok(false) };
    let Some(_unused) = Unused::take(dir, &environment.key) else { return Ok(false) };
    disk::remove(&environment.path).map(|()| true)
}

impl KeptEnvironment {
    /// Whether it was made for these requirements. A plugin that is `confined` uses another one than a plugin that is not.
    #[must_use]
    pub fn is_for(&self, requirements: &[String], confined: bool) -> bool {
        let made_for = self.requirements.as_deref().unwrap_or_default().iter();
        self.requirements.is_some()
            && self.wheels_only == confined
            && made_for.eq(super::made::sorted(requirements).iter().copied())
    }

    /// How long it has not been used; None while it is in use, or if its last use is not known.
    #[must_use]
    pub fn unused_for(&self) -> Option<Duration> {
        if self.in_use { None } else { self.used?.elapsed().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold::{hold, open};
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn made(dir: &Path) {
        std::fs::create_dir_all(dir.join(KEY).join("lib")).unwrap();
        std::fs::write(dir.join(KEY).join("lib/x.py"), "x = 1\n").unwrap();
        std::fs::write(dir.join(KEY).join(CONFIG), "home = /usr/bin\nversion_info = 3.11.7\n").unwrap();
        let stamp = r#"{"format": 1, "requirements": ["numpy==2"], "python": "/usr/bin/python3", "made_with": "uv"}"#;
        std::fs::write(dir.join(KEY).join(STAMP), stamp).unwrap();
    }

    #[tokio::test]
    async fn an_environment_in_use_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path());
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        let held = hold(dir.path(), KEY).await.unwrap();
        let [environment] = &kept_environments(Some(dir.path())).unwrap()[..] else { panic!() };
        assert_eq!(environment.requirements, Some(vec!["numpy==2".to_owned()]));
        assert!(environment.in_use && environment.unused_for().is_none() && environment.bytes > 6);
        let (version, made_with) = (environment.python_version.as_deref(), environment.made_with.as_deref());
        assert_eq!((version, made_with), (Some("3.11.7"), Some("uv")));
        let wanted = |requirements: &[&str]| requirements.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        assert!(environment.is_for(&wanted(&["numpy==2", "numpy==2"]), false));
        assert!(!environment.is_for(&wanted(&["numpy==2"]), true) && !environment.is_for(&wanted(&[]), false));
        assert!(!remove_environment(environment).unwrap() && environment.path.exists());
        drop(held);
        let [environment] = &kept_environments(Some(dir.path())).unwrap()[..] else { panic!() };
        assert!(!environment.in_use && environment.unused_for().is_some());
        // As a host does that makes one.
        let making = open(&dir.path().join(format!("{KEY}.lock"))).unwrap();
        making.lock().unwrap();
        assert!(!remove_environment(environment).unwrap());
        drop(making);
        assert!(remove_environment(environment).unwrap() && !environment.path.exists());
        assert!(kept_environments(Some(dir.path())).unwrap().is_empty());
        assert!(kept_environments(Some(&dir.path().join("none"))).unwrap().is_empty());
    }
}
