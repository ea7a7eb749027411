//! Tests of their files: the forms that are read, their problems with their lines, and what a hostile file can do.

mod forms;
mod hostile;
mod schema;
#[path = "../../../../tests/support/problems.rs"]
mod shown_problems;

use std::path::Path;
use std::sync::LazyLock;

use bivium_interface::manifest::{Forms, ManifestFile};
use bivium_interface::{ErrorCode, Manifest, PluginError};

use crate::CjmForms;

const PATH: &str = "/plugins/example.json";

static FORMS: LazyLock<Forms> = LazyLock::new(|| Forms::with(vec![Box::new(CjmForms)]));

fn parse(text: &str) -> Result<Manifest, PluginError> {
    let path = Path::new(PATH);
    ManifestFile::parse(text, path, &FORMS)?.into_plugin(path)
}

/// The problems of a text, each as `LINE: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let error = ManifestFile::parse(text, Path::new(PATH), &FORMS).expect_err("a file with problems");
    shown_problems::shown(&error)
}
