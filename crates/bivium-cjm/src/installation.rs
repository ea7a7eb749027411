//! [`Installation`]: plugins that cjm-plugin-system or cjm-substrate has installed, as they lie on disk.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use bivium_interface::{PluginError, Result, lossy};
use serde::{Deserialize, Serialize};

/// A longer `cjm.yaml` is none.
const LONGEST: u64 = 1 << 20;

/// What an installation of cjm-plugin-system or cjm-substrate has, and where. Looking for it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Installation {
    /// Its `cjm.yaml`.
    #[serde(serialize_with = "lossy::optional")]
    pub config: Option<PathBuf>,
    /// Where its plugins keep their data, below `data`.
    #[serde(serialize_with = "lossy::path")]
    pub data_dir: PathBuf,
    /// Where its plugins keep models.
    #[serde(serialize_with = "lossy::optional")]
    pub models_dir: Option<PathBuf>,
    /// The directories that its manifests lie in, nearest first.
    #[serde(serialize_with = "lossy::several")]
    pub manifests: Vec<PathBuf>,
}

/// The keys of `cjm.yaml` that say where things are.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    data_dir: Option<PathBuf>,
    models_dir: Option<PathBuf>,
}

impl Installation {
    /// Looks at a directory: a project with a `cjm.yaml` or a `.cjm`, a data directory as `~/.cjm` is, or a
    /// directory of manifests.
    ///
    /// # Errors
    /// `not-found` if it has no manifests; `invalid-config` if its `cjm.yaml` cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        if !dir.is_dir() {
            return Err(PluginError::not_found(format!("there is no directory {}", dir.display())));
        }
        let (file, own) = (dir.join("cjm.yaml"), dir.join(".cjm"));
        let yaml = read(&file)?;
        let is_project = yaml.is_some() || own.is_dir();
        let config = yaml.as_deref().map(|yaml| parse(yaml, &file)).transpose()?.unwrap_or_default();
        let data_dir = match config.data_dir {
            Some(named) => dir.join(named),
            None if own.is_dir() => own.clone(),
            None if is_project => directories::BaseDirs::new().map_or(own.clone(), |dirs| dirs.home_dir().join(".cjm")),
            None if dir.join("manifests").is_dir() => dir.clone(),
            None => dir.parent().unwrap_or(&dir).to_owned(),
        };
        let mut manifests = if is_project { vec![own.join("manifests")] } else { Vec::new() };
        manifests.push(data_dir.join("manifests"));
        manifests.dedup();
        manifests.retain(|place| place.is_dir());
        if manifests.is_empty() && !is_project && has_manifests(&dir) {
            manifests.push(dir.clone());
        }
        if manifests.is_empty() {
            let what = format!("there is no installation of cjm-plugin-system in {}", dir.display());
            return Err(PluginError::not_found(what)
                .with_help("give the directory of its cjm.yaml, its data directory (~/.cjm), or one of manifests"));
        }
        let models_dir = config.models_dir.map(|named| dir.join(named));
        Ok(Self { config: yaml.map(|_| file), data_dir, models_dir, manifests })
    }
}

fn read(file: &Path) -> Result<Option<String>> {
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(file, &error)),
    };
    let mut text = String::new();
    opened.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| wrong(file, &error))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(wrong(file, &"it is longer than 1 MiB"));
    }
    Ok(Some(text))
}

fn parse(yaml: &str, file: &Path) -> Result<Config> {
    let config: Option<Config> = serde_saphyr::from_str(yaml).map_err(|error| wrong(file, &error))?;
    Ok(config.unwrap_or_default())
}

fn wrong(file: &Path, why: &dyn std::fmt::Display) -> PluginError {
    PluginError::invalid_config(format!("{} cannot be read: {why}", file.display()))
}

fn has_manifests(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;

    use super::*;

    fn made(dir: &Path, directories: &[&str]) {
        for name in directories {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
    }

    #[test]
    fn a_project_a_data_directory_and_a_directory_of_manifests_are_told_apart() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        made(dir, &["project/.cjm/manifests", "project/elsewhere/manifests", "data/manifests", "plain", "empty"]);
        let yaml =
            "runtime: {mode: local}\ndata_dir: elsewhere  # theirs\nmodels_dir: '/big/models'\nsubstrate:\n  x: 1\n";
        std::fs::write(dir.join("project/cjm.yaml"), yaml).unwrap();
        std::fs::write(dir.join("plain/a.json"), "{}").unwrap();

        let found = Installation::read(&dir.join("project")).unwrap();
        assert_eq!(found.data_dir, dir.join("project/elsewhere"));
        assert_eq!(found.models_dir.as_deref(), Some(Path::new("/big/models")));
        assert_eq!(found.manifests, [dir.join("project/.cjm/manifests"), dir.join("project/elsewhere/manifests")]);

        std::fs::write(dir.join("project/cjm.yaml"), "# nothing\n").unwrap();
        let found = Installation::read(&dir.join("project")).unwrap();
        assert_eq!((found.data_dir, found.models_dir), (dir.join("project/.cjm"), None));
        assert_eq!(found.manifests, [dir.join("project/.cjm/manifests")]);

        let found = Installation::read(&dir.join("data")).unwrap();
        assert_eq!((found.config, found.data_dir), (None, dir.join("data")));
        let found = Installation::read(&dir.join("plain")).unwrap();
        assert_eq!((found.data_dir, found.manifests), (dir.to_owned(), vec![dir.join("plain")]));
        assert_eq!(Installation::read(&dir.join("empty")).unwrap_err().code(), ErrorCode::NotFound);
    }

    #[test]
    fn a_wrong_or_hostile_configuration_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("cjm.yaml");
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (name, before) in
            ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
        {
            let nine = vec![format!("*{before}"); 9].join(",");
            bomb.push_str(&format!("{name}: &{name} [{nine}]\n"));
        }
        let long = "x".repeat(2 << 20);
        for text in ["data_dir: [1, 2]\n", "\tdata_dir: x\n", "data_dir: a: b\n", &bomb, &long] {
            std::fs::write(&file, text).unwrap();
            let error = Installation::read(place.path()).unwrap_err();
            assert!(matches!(error.code(), ErrorCode::InvalidConfig | ErrorCode::NotFound), "{error}");
        }
    }
}
