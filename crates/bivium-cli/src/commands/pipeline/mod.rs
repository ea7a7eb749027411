//! `bivium pipeline`: several plugins, one after another.

mod argument;
mod check;
mod list;
mod run;

use std::path::{Path, PathBuf};

use bivium::manifest::ManifestFile;
use bivium::pipeline::Pipeline;
use bivium::{ErrorCode, PluginError};
use bivium_interface::nearest;

pub(super) use check::check;
pub(super) use list::list;
pub(super) use run::run;

use crate::host::Host;
use crate::output::short;

/// The pipeline in this file, or the pipeline with this name in the directories of manifests.
fn read(host: &Host, named: &Path) -> Result<Pipeline, PluginError> {
    Pipeline::read(&find(host, named)?)
}

/// Its file.
fn find(host: &Host, named: &Path) -> Result<PathBuf, PluginError> {
    let name = named.to_str().unwrap_or_default();
    if named.exists() || named.components().count() > 1 || named.extension().is_some() {
        if ManifestFile::read(named, bivium::forms()).is_ok() {
            let shown = named.display();
            return Err(PluginError::invalid_input(format!("{shown} is the manifest of a plugin, not a pipeline"))
                .with_help(format!("`bivium run {shown}` calls it")));
        }
        return Ok(named.to_owned());
    }
    let discovery = host.manager.discover();
    let all: Vec<_> = discovery.pipelines().map(|path| (path, Pipeline::read(path))).collect();
    // A broken pipeline is meant if its file has the name.
    let is_meant = |path: &Path, read: &Result<Pipeline, PluginError>| match read {
        Ok(pipeline) => pipeline.name == name,
        Err(_) => path.file_stem().is_some_and(|stem| stem == name),
    };
    let known: Vec<String> = all.iter().filter_map(|(_, read)| Some(read.as_ref().ok()?.name.clone())).collect();
    let mut meant: Vec<_> = all.into_iter().filter(|(path, read)| is_meant(path, read)).collect();
    match (meant.pop(), meant.as_slice()) {
        (Some((path, _)), []) => Ok(path.to_owned()),
        (Some((path, _)), [(other, _), ..]) => {
            let what = format!("two pipelines have the name {name:?}: {} and {}", path.display(), other.display());
            Err(PluginError::invalid_input(what).with_help("give the path of the one that you mean"))
        }
        (None, _) => {
            let help = match nearest(name, known.iter().map(String::as_str)) {
                _ if discovery.found.contains_key(name) => {
                    format!("`bivium run {name}` calls the plugin with this name")
                }
                Some(nearest) => format!("did you mean {:?}?", short(nearest)),
                None => {
                    "`bivium pipeline list` lists the pipelines that are found; or give the path of a file".to_owned()
                }
            };
            Err(PluginError::new(ErrorCode::NotFound, format!("there is no pipeline {name:?}")).with_help(help))
        }
    }
}
