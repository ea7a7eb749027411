//! Tests of the manifest: the forms that are read, every kind of problem with its line, and hostile files.

mod extension;
mod forms;
mod hostile;
mod problems;
#[path = "../../../../../tests/support/problems.rs"]
mod shown_problems;

use std::path::Path;

use super::{Forms, Manifest, ManifestFile};
use crate::{ErrorCode, PluginError};

const PATH: &str = "/plugins/example.json";

fn parse(text: &str) -> Result<Manifest, PluginError> {
    Manifest::parse(text, Path::new(PATH))
}

/// The problems of a text, each as `LINE: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let error = ManifestFile::parse(text, Path::new(PATH), Forms::plain()).expect_err("a file with problems");
    shown_problems::shown(&error)
}
